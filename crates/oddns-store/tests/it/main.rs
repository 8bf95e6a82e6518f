//! Files written are the files read, and no file makes the reader panic.

mod damage;
mod frames;
mod history;
mod kinds;
