//! Serves the page on 127.0.0.1:8753 with made-up servers, to look at it without any DNS.
//!
//! `cargo run -p oddns-serve --example page` shows a recording, `… page live` servers that go on,
//! `… page quiet` a server without incidents, `… page empty` one without steps.

use std::time::Duration;

use oddns_serve::{DEFAULT_LISTEN_ADDRESS, Shared, View, run};
use tokio::net::TcpListener;

#[path = "../tests/it/scene.rs"]
mod scene;

/// How many steps have passed when the live scene opens: the second fault is on.
const NOW: i64 = 620;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let kind = std::env::args().nth(1).unwrap_or_default();
    let shared = Shared::new(view(&kind));
    if kind == "live" {
        tokio::spawn(go_on(shared.clone()));
    }
    let listener = TcpListener::bind(DEFAULT_LISTEN_ADDRESS).await?;
    run(listener, shared, std::future::pending()).await;
    Ok(())
}

fn view(kind: &str) -> View {
    match kind {
        "live" => scene::fleet(NOW),
        "quiet" => {
            let mut view = View::new("", true);
            view.set_model(scene::model());
            (0..250).for_each(|at| view.push("127.0.0.1:9153", &scene::step("127.0.0.1:9153", at)));
            view
        }
        "empty" => {
            let mut view = View::new("", true);
            view.watch(["127.0.0.1:9153".to_owned()]);
            view
        }
        _ => scene::recording(),
    }
}

async fn go_on(shared: std::sync::Arc<Shared>) {
    for at in NOW.. {
        tokio::time::sleep(Duration::from_secs(2)).await;
        shared.change(|view| scene::fleet_step(view, at, NOW));
    }
}
