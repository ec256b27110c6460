//! The picture of several scenes side by side: the same clients before several servers, and who waits for whom.
//!
//! The page moves them on one clock; on paper and without JavaScript this shows how they end. Scenes belong together if
//! their names differ in the last number only: `three-1`, `three-2`, … make `three.svg`.

use std::collections::BTreeMap;

use super::data::Scene;
use super::strip::Drawing;

/// Two cards side by side.
const COLUMNS: usize = 2;
const CARD: usize = 290;
const GAP: usize = 12;
const MARGIN: usize = 24;
/// From one client to the next: its words, and below them its line.
const ROW: usize = 46;

/// The scenes that belong together, by the name of their picture.
pub(super) fn groups(scenes: &[Scene]) -> BTreeMap<&str, Vec<&Scene>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for scene in scenes {
        let Some((group, number)) = scene.name.rsplit_once('-') else { continue };
        if number.parse::<u8>().is_ok() {
            groups.entry(group).or_default().push(scene);
        }
    }
    groups.retain(|_, scenes| scenes.len() > 1);
    groups
}

pub(super) fn draw(scenes: &[&Scene]) -> String {
    let mut drawing = Drawing::new();
    let clients = scenes.iter().map(|scene| scene.clients.len()).max().unwrap_or(0);
    let height = 74 + clients * ROW;
    for (n, scene) in scenes.iter().enumerate() {
        let place = (MARGIN + n % COLUMNS * (CARD + GAP), 16 + n / COLUMNS * (height + GAP));
        card(&mut drawing, scene, place, height);
    }
    drawing.y = 16 + scenes.len().div_ceil(COLUMNS) * (height + GAP) + 4;
    let says: Vec<_> = scenes.iter().map(|scene| in_words(scene)).collect();
    drawing.finish("The same clients before several servers", &says.join(" "))
}

/// One server: what it is, and how each client has fared up to the end.
fn card(drawing: &mut Drawing, scene: &Scene, (x, y): (usize, usize), height: usize) {
    drawing.put(&format!(
        "<rect class=\"card\" x=\"{x}\" y=\"{y}\" width=\"{CARD}\" height=\"{height}\" rx=\"8\"/>"
    ));
    drawing.y = y + 28;
    drawing.text(x + 12, "step", &scene.program);
    let ends = scene.run.ticks();
    let Some(last) = ends.last() else { return };
    for (row, client) in scene.clients.iter().enumerate() {
        drawing.y = y + 28 + (row + 1) * ROW - 10;
        let fares = scene.run.fares(*last, &client.name, &scene.clients);
        drawing.text(x + 12, "step", &client.name);
        drawing.text(x + 38, words(&fares), &fares);
        for (tick, end) in ends.iter().enumerate() {
            let place = |tick: usize| x + 38 + tick * (CARD - 50) / ends.len();
            line(
                drawing,
                &scene.run.fares(*end, &client.name, &scene.clients),
                (place(tick), place(tick + 1)),
            );
        }
    }
    drawing.y = y + height - 16;
    drawing.text(x + 12, "server", &scene.run.server_in_short(*last));
}

/// A stretch of a client's time: thin while it is silent, empty while it waits, full while it is served.
fn line(drawing: &mut Drawing, fares: &str, (from, to): (usize, usize)) {
    let (class, height) = match fares {
        "not here yet" | "has left" => return,
        "silent, connected" | "silent, told the status" | "let go of" => ("silent", 3),
        "served" => ("served", 10),
        "does not read" => ("stuck", 10),
        _ => ("wait", 10),
    };
    let (y, width) = (drawing.y + 6, to - from);
    drawing.put(&format!(
        "<rect class=\"{class}\" x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
    ));
}

fn words(fares: &str) -> &'static str {
    match fares.starts_with("waits") || fares == "cut off" {
        true => "fares trouble",
        false => "fares",
    }
}

/// How a scene ends, for those who listen.
fn in_words(scene: &Scene) -> String {
    let last = scene.run.steps.len() - 1;
    let client = |name: &str| format!("{name} {}", scene.run.fares(last, name, &scene.clients));
    let clients: Vec<_> = scene.clients.iter().map(|each| client(&each.name)).collect();
    format!("{}: {}.", scene.program, clients.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that connects and then waits for the server, which sleeps for B.
    fn scene(name: &str) -> Scene {
        let connection = r#"{"connected": true, "client_out": 0, "server_in": 5, "server_out": 0, "client_in": 0,
            "returned": 0, "fin": "none", "reset": false}"#;
        let text = format!(
            r#"scene({{"name": "{name}", "title": "t", "program": "stage1-blocking", "what_if": null,
            "clients": [{{"name": "A"}}, {{"name": "B"}}], "moments": [0],
            "capacity": {{"client_out": 1, "server_in": 1, "server_out": 1, "client_in": 1}}, "steps": [
            {{"who": "A", "does": "connects", "connections": {{"A": {connection}}}, "backlog": [], "caption": "c"}},
            {{"who": "server", "call": "recvfrom(B, …)", "asleep": true, "connections": {{"A": {connection}}},
              "backlog": [], "caption": "c"}}]}});"#
        );
        Scene::read(&text).unwrap()
    }

    #[test]
    fn scenes_whose_names_differ_in_their_number_belong_together() {
        let scenes = ["a", "three-1", "three-2", "slow-reader", "four-1"].map(scene);
        let groups = groups(&scenes);
        assert_eq!(groups.keys().collect::<Vec<_>>(), [&"three"]);
        assert_eq!(groups["three"].len(), 2);
    }

    #[test]
    fn the_picture_says_who_waits_for_whom_at_the_end() {
        let (one, two) = (scene("three-1"), scene("three-2"));
        let svg = draw(&[&one, &two]);
        assert_eq!(svg.matches(">waits for B<").count(), 2, "{svg}");
        assert_eq!(svg.matches("class=\"wait\"").count(), 2);
        assert!(svg.contains("stage1-blocking: A waits for B, B not here yet."));
    }
}
