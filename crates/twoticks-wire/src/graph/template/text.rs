//! Texts with variables in them, in either notation.

/// How variables are written.
#[derive(Clone, Copy)]
pub(super) struct Notation {
    open: &'static str,
    close: &'static str,
}

/// `$(name)`.
pub(super) const CAMS: Notation = Notation { open: "$(", close: ")" };

/// `{{1}}` or `{{name}}`.
pub(super) const GRAPH: Notation = Notation { open: "{{", close: "}}" };

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// As it is.
    Fixed(&'t str),
    /// The name of a variable, without blanks around it. Never empty.
    Variable(&'t str),
}

/// The pieces of a text. What opens and never closes, or has no name, is as it is.
pub(super) fn pieces(text: &str, notation: Notation) -> Vec<Piece<'_>> {
    let Notation { open, close } = notation;
    let mut pieces = Vec::new();
    let (mut fixed_from, mut at) = (0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(open)) {
        let begin = at + found;
        let inside = begin + open.len();
        let Some(length) = text.get(inside..).and_then(|rest| rest.find(close)) else { break };
        let name = text.get(inside..inside + length).unwrap_or_default();
        if name.trim().is_empty() || name.contains(open) {
            at = inside;
            continue;
        }
        if begin > fixed_from {
            pieces.push(Piece::Fixed(text.get(fixed_from..begin).unwrap_or_default()));
        }
        pieces.push(Piece::Variable(name.trim()));
        at = inside + length + close.len();
        fixed_from = at;
    }
    match text.get(fixed_from..) {
        Some(rest) if !rest.is_empty() => pieces.push(Piece::Fixed(rest)),
        _ => {}
    }
    pieces
}

/// The names of the variables of a text, each once, in the order in which they come.
pub(super) fn variables(text: &str, notation: Notation) -> Vec<&str> {
    let mut names = Vec::new();
    for piece in pieces(text, notation) {
        match piece {
            Piece::Variable(name) if !names.contains(&name) => names.push(name),
            Piece::Variable(_) | Piece::Fixed(_) => {}
        }
    }
    names
}

/// The same text in the other notation, its variables' names as they are.
pub(super) fn rewritten(text: &str, from: Notation, to: Notation) -> String {
    pieces(text, from)
        .into_iter()
        .map(|piece| match piece {
            Piece::Fixed(fixed) => fixed.to_owned(),
            Piece::Variable(name) => variable(name, to),
        })
        .collect()
}

/// A variable.
pub(super) fn variable(name: &str, Notation { open, close }: Notation) -> String {
    format!("{open}{name}{close}")
}
