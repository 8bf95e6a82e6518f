//! Fenced blocks of a page, and which of them belong together.

use std::ops::Range;

/// A command of a page, and what the page says it prints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// Line of the page, from 1.
    pub(crate) line: usize,
    pub(crate) script: String,
    /// Whether it needs a running CoreDNS.
    pub(crate) live: bool,
    /// Place of the output in the page, without the fences.
    pub(crate) output: Option<Range<usize>>,
}

struct Block<'a> {
    line: usize,
    info: &'a str,
    content: Range<usize>,
    /// Whether nothing but empty lines lies between the block before it and this one.
    follows: bool,
}

/// The examples of a page in order.
pub(crate) fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut open = false;
    for block in blocks(page) {
        if let (true, "text", true, Some(last)) =
            (open, block.info, block.follows, examples.last_mut())
        {
            last.output = Some(block.content.clone());
        }
        open = matches!(block.info, "sh" | "sh live");
        if open {
            examples.push(Example {
                line: block.line,
                script: page[block.content].to_owned(),
                live: block.info == "sh live",
                output: None,
            });
        }
    }
    examples
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let (mut at, mut inside, mut follows) = (0, false, false);
    for (number, line) in page.split_inclusive('\n').enumerate() {
        let start = at;
        at += line.len();
        match line.strip_prefix("```") {
            Some(_) if inside => {
                if let Some(block) = blocks.last_mut() {
                    block.content.end = start;
                }
                (inside, follows) = (false, true);
            }
            Some(info) => {
                blocks.push(Block {
                    line: number + 1,
                    info: info.trim(),
                    content: at..at,
                    follows,
                });
                inside = true;
            }
            None if !inside && !line.trim().is_empty() => follows = false,
            None => {}
        }
    }
    blocks
}

/// What is compared of an output: its words. Numbers, and space that lines them up, are left out.
pub(crate) fn words(output: &str) -> String {
    let mut words = String::new();
    for line in output.lines() {
        let mut masked = String::new();
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            if character.is_ascii_digit() {
                while characters.next_if(|next| next.is_ascii_digit() || *next == '.').is_some() {}
                masked.push('#');
            } else {
                masked.push(character);
            }
        }
        words += &masked.split_whitespace().collect::<Vec<_>>().join(" ");
        words.push('\n');
    }
    words
}

#[test]
fn an_output_belongs_to_the_command_right_before_it() {
    let page = "# A\n\n```sh\noddns a\n```\n\n```text\nA 1\n```\n\n```console\n$ oddns b\n```\n\n\
                ```sh live\noddns c\n```\n\nWords.\n\n```text\nnot of c\n```\n";
    let found = examples(page);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].line, found[0].script.as_str(), found[0].live), (3, "oddns a\n", false));
    assert_eq!(&page[found[0].output.clone().unwrap()], "A 1\n");
    assert_eq!((found[1].line, found[1].live, &found[1].output), (15, true, &None));
}

#[test]
fn numbers_and_alignment_do_not_count() {
    assert_eq!(words("peak  1.35 of 07:33:27\n"), words("peak 11.5 of 8:1:2"));
    assert_ne!(words("found after 5 s"), words("missed"));
}
