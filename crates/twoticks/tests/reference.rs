//! The generated pages of `docs/reference`, compared with what the program says of itself.
//! `UPDATE=1` writes them anew.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fmt::Write as _;
use std::path::Path;

use assert_cmd::Command;

const GENERATED: &str = "<!-- Generated: run the tests with UPDATE=1 to write it anew. -->\n";
const DEFAULTS: &str = include_str!("../src/default.toml");

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::vars_os().any(|(name, _)| name == "UPDATE") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/reference/{name} is not up to date; run with UPDATE=1");
}

#[test]
fn the_pages_of_the_server_are_up_to_date() {
    for page in twoticks_server::reference::PAGES {
        compare(page.name, &(page.text)());
    }
}

#[test]
fn the_page_of_the_configuration_is_up_to_date() {
    let text = format!(
        "# Configuration\n{GENERATED}\n`twoticks config` prints what holds.\n\n```toml\n{DEFAULTS}```\n"
    );
    compare("config.md", &text);
}

#[test]
fn the_page_of_the_command_line_is_up_to_date() {
    let mut page = format!(
        "# Command line\n{GENERATED}\nData goes to standard output, all else to standard error.\n\
         Exit status: 0, or 1 if it did not work, or 2 for wrong usage, or 3 if the disk did not \
         confirm a write, which nothing but starting again helps (`serve` does so by itself).\n"
    );
    section(&mut page, &[]);
    compare("cli.md", &page);
}

/// The help of a command, then that of those below it.
fn section(page: &mut String, path: &[String]) {
    let help = help(path);
    let title = std::iter::once("twoticks".to_owned()).chain(path.iter().cloned());
    let title = title.collect::<Vec<_>>().join(" ");
    write!(page, "\n## {title}\n\n```text\n{}\n```\n", help.trim_end()).unwrap();
    for name in below(&help) {
        let path: Vec<String> = path.iter().cloned().chain([name]).collect();
        section(page, &path);
    }
}

fn help(path: &[String]) -> String {
    let mut command = Command::cargo_bin("twoticks").unwrap();
    // The width of somebody's terminal is not part of the page.
    let output = command.args(path).arg("--help").env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success(), "{path:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the commands that a help lists.
fn below(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}
