//! CSV: rows behind a header that names their columns, each of which becomes a line of JSON.
//!
//! The names are those of the JSON fields, `pricing_…` for those of `pricing`. A table with a
//! column `status` holds statuses, any other one sends. An empty cell is an absent field. What
//! always holds: a column that is not known is refused by its name, because what it says would be
//! lost without a word; a row takes bounded memory, so a quote that is never closed costs that
//! row and those that it swallows up to [`ROW_BYTES_MAX`], and is told with its line.

use std::io::BufRead;

use anyhow::{Context as _, Result, bail};
use csv_core::{ReadRecordResult, Reader};
use serde_json::Value;
use twoticks_server::ingest::import::record::{PRICING_FIELDS, SEND_FIELDS, STATUS_FIELDS};

use super::lines::Line;

/// The longest row, in bytes without its quotes and commas.
const ROW_BYTES_MAX: usize = 64 * 1024;
/// How many fields of a row are looked at; there are fewer columns than that.
const FIELDS_MAX: usize = 64;
/// As many characters of a name that is not known are shown.
const NAME_SHOWN_MAX: usize = 64;
/// What comes before the name of a field of `pricing`.
const PRICING: &str = "pricing_";
/// When a row was accepted: no field of the record, but of the line.
const ACCEPTED: &str = "accepted";
/// The column by which a table of statuses is known.
const STATUS: &str = "status";
/// The columns that a row means nothing without.
const NEEDED: [&str; 3] = ["phone_number_id", "wamid", "time"];

/// Rows of a table.
pub(super) struct Rows {
    parser: Reader,
    /// The fields of a row, one behind the other.
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    kind: &'static str,
    columns: Vec<String>,
    /// The line that is read next, from 1.
    line: u64,
}

/// Where a row stands, and how much there is of it.
struct Row {
    first: u64,
    last: u64,
    fields: usize,
    is_too_long: bool,
}

impl Rows {
    /// Reads the header.
    ///
    /// # Errors
    /// If it cannot be read, or names columns that will not do.
    pub(super) fn begin(from: &mut dyn BufRead) -> Result<Self> {
        let mut rows = Self {
            parser: Reader::new(),
            // One more, so that a row of just that length is told from a longer one.
            text: vec![0; ROW_BYTES_MAX + 1],
            ends: vec![0; FIELDS_MAX],
            kind: "send",
            columns: Vec::new(),
            line: 1,
        };
        let Some(row) = rows.read(from).context("cannot read the header")? else {
            bail!("it is empty; CSV begins with a header that names its columns");
        };
        if row.is_too_long || row.fields > FIELDS_MAX {
            bail!(
                "the header has more than {ROW_BYTES_MAX} bytes or {FIELDS_MAX} columns; is it CSV?"
            );
        }
        let Some(cells) = rows.cells(&row) else {
            bail!("the header is not UTF-8; save the file as UTF-8");
        };
        let columns: Vec<String> = cells.iter().map(|name| name.trim().to_owned()).collect();
        rows.kind = judge(&columns)?;
        rows.columns = columns;
        Ok(rows)
    }

    /// The next row as a line of JSON, with the line in which it begins.
    pub(super) fn next(&mut self, from: &mut dyn BufRead) -> std::io::Result<Option<(u64, Line)>> {
        let Some(row) = self.read(from)? else { return Ok(None) };
        let Row { first, last, fields, is_too_long } = row;
        let place = if last > first {
            format!("the row from line {first} to line {last}")
        } else {
            "the row".to_owned()
        };
        let quote = if last > first { "; is a quote not closed?" } else { "" };
        let line = if is_too_long {
            Line::Bad(format!("{place} has more than {ROW_BYTES_MAX} bytes{quote}"))
        } else if fields != self.columns.len() {
            let columns = self.columns.len();
            Line::Bad(format!("{place} has {fields} fields, the header names {columns}{quote}"))
        } else {
            match self.cells(&row) {
                Some(cells) => Line::Text(self.json(&cells)),
                None => Line::Bad(format!("{place} is not UTF-8")),
            }
        };
        Ok(Some((first, line)))
    }

    /// Passes over the rows that begin in line `last` or before it.
    pub(super) fn skip_to(&mut self, from: &mut dyn BufRead, last: u64) -> std::io::Result<()> {
        while self.skip_blank(from)? && self.line <= last {
            self.read(from)?;
        }
        Ok(())
    }

    /// Reads a row into `text` and `ends`; `None` at the end.
    fn read(&mut self, from: &mut dyn BufRead) -> std::io::Result<Option<Row>> {
        if !self.skip_blank(from)? {
            return Ok(None);
        }
        let mut row = Row { first: self.line, last: self.line, fields: 0, is_too_long: false };
        let mut bytes = 0;
        loop {
            let input = from.fill_buf()?;
            let text = self.text.get_mut(bytes..).unwrap_or_default();
            // Fields beyond those that are looked at are counted, and end where nobody looks.
            let kept = row.fields.min(FIELDS_MAX - 1);
            let ends = self.ends.get_mut(kept..).unwrap_or_default();
            let (result, read, written, ended) = self.parser.read_record(input, text, ends);
            let seen = input.get(..read).unwrap_or_default();
            self.line += seen.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            if read > 0 && seen != b"\n" {
                // The end of the row's last line is no line of it.
                row.last = self.line - u64::from(seen.ends_with(b"\n"));
            }
            from.consume(read);
            bytes += written;
            row.fields += ended;
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::OutputEndsFull => {}
                ReadRecordResult::OutputFull => {
                    self.parser.reset();
                    let left = from.skip_until(b'\n')?;
                    self.line += u64::from(left > 0);
                    row.is_too_long = true;
                    return Ok(Some(row));
                }
                ReadRecordResult::Record => {
                    row.is_too_long = bytes > ROW_BYTES_MAX;
                    return Ok(Some(row));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    /// Passes over ends of lines; whether there is anything behind them.
    fn skip_blank(&mut self, from: &mut dyn BufRead) -> std::io::Result<bool> {
        loop {
            let input = from.fill_buf()?;
            match input.first() {
                None => return Ok(false),
                Some(b'\n') => self.line += 1,
                Some(b'\r') => {}
                Some(_) => return Ok(true),
            }
            from.consume(1);
        }
    }

    /// The fields that were read; `None` if one is not UTF-8.
    fn cells(&self, row: &Row) -> Option<Vec<&str>> {
        let ends = self.ends.get(..row.fields)?;
        let mut start = 0;
        let cell = |end: &usize| {
            let bytes = self.text.get(start..*end)?;
            start = *end;
            std::str::from_utf8(bytes).ok()
        };
        ends.iter().map(cell).collect()
    }

    /// The line of JSON that the row is.
    fn json(&self, cells: &[&str]) -> String {
        let (mut fields, mut pricing, mut accepted) = (String::new(), String::new(), String::new());
        for (name, cell) in self.columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            match (name.as_str(), name.strip_prefix(PRICING)) {
                (_, Some(name)) => member(&mut pricing, name, cell),
                (ACCEPTED, None) => member(&mut accepted, name, cell),
                (name, None) => member(&mut fields, name, cell),
            }
        }
        if !pricing.is_empty() {
            let comma = if fields.is_empty() { "" } else { "," };
            fields = format!("{fields}{comma}\"pricing\":{{{pricing}}}");
        }
        let comma = if accepted.is_empty() { "" } else { "," };
        format!("{{\"{}\":{{{fields}}}{comma}{accepted}}}", self.kind)
    }
}

/// Adds a member to those of an object.
fn member(members: &mut String, name: &str, value: &str) {
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(&format!("\"{name}\":{}", Value::from(value)));
}

/// What a table with these columns holds.
fn judge(columns: &[String]) -> Result<&'static str> {
    if let [only] = columns
        && let Some(separator) = [';', '\t'].into_iter().find(|it| only.contains(*it))
    {
        bail!("its header is separated by `{}`; only commas will do", separator.escape_default());
    }
    let is_status = columns.iter().any(|name| name == STATUS);
    let (kind, what) = if is_status { (STATUS, "statuses") } else { ("send", "sends") };
    let known = known(is_status);
    for (index, name) in columns.iter().enumerate() {
        if !known.contains(name) {
            let hint = if is_status { "" } else { "; with a column `status` it holds statuses" };
            let name: String = name.chars().take(NAME_SHOWN_MAX).collect();
            bail!("`{name}` is no column of {what}; there are {}{hint}", known.join(", "));
        }
        if columns.iter().take(index).any(|other| other == name) {
            bail!("its header names the column `{name}` twice");
        }
    }
    let missing = NEEDED.into_iter().filter(|needed| !columns.iter().any(|name| name == needed));
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        let (missing, known) = (missing.join("`, `"), known.join(", "));
        bail!("its header does not name `{missing}`; there are {known}");
    }
    Ok(kind)
}

/// The columns that there are.
fn known(is_status: bool) -> Vec<String> {
    let fields: &[&str] = if is_status { &STATUS_FIELDS } else { &SEND_FIELDS };
    let pricing: &[&str] = if is_status { &PRICING_FIELDS } else { &[] };
    let fields = fields.iter().filter(|name| **name != "pricing").map(|name| (*name).to_owned());
    let pricing = pricing.iter().map(|name| format!("{PRICING}{name}"));
    fields.chain(pricing).chain([ACCEPTED.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::super::lines::Lines;
    use super::super::lines::tests::Long;
    use super::*;

    fn rows(from: impl Read + 'static) -> Vec<(u64, String)> {
        // A small buffer, so that every kind of cut is met.
        let mut lines = Lines::csv(Box::new(BufReader::with_capacity(7, from))).unwrap();
        std::iter::from_fn(|| lines.next().unwrap())
            .map(|(number, line)| match line {
                Line::Text(text) => (number, text),
                Line::Bad(why) => (number, format!("bad: {why}")),
            })
            .collect()
    }

    fn refused(header: &str) -> String {
        let from = Box::new(BufReader::new(std::io::Cursor::new(header.as_bytes().to_vec())));
        Lines::csv(from).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_row_becomes_the_line_of_json_that_says_the_same() {
        let text = b"wamid,phone_number_id,time,to,template_code,language,campaign,accepted\r\n\
            M1,1001,5,,promo,en,\"a \"\"b\"\",\nc\",6\r\n\
            \r\n\
            M2,1001,5,,,,,\r\n";
        assert_eq!(
            rows(&text[..]),
            [
                (
                    2,
                    r#"{"send":{"wamid":"M1","phone_number_id":"1001","time":"5","template_code":"promo","language":"en","campaign":"a \"b\",\nc"},"accepted":"6"}"#
                        .to_owned()
                ),
                (5, r#"{"send":{"wamid":"M2","phone_number_id":"1001","time":"5"}}"#.to_owned()),
            ]
        );
        let text = b" wamid , phone_number_id,time,status,error,participant,pricing_category,\
            pricing_cost,pricing_currency\nM1,1,5,read,131026,P,marketing,0.05,EUR";
        assert_eq!(
            rows(&text[..]),
            [(
                2,
                r#"{"status":{"wamid":"M1","phone_number_id":"1","time":"5","status":"read","error":"131026","participant":"P","pricing":{"category":"marketing","cost":"0.05","currency":"EUR"}}}"#
                    .to_owned()
            )]
        );
        assert_eq!(rows(&b"wamid,phone_number_id,time\n"[..]), []);
    }

    #[test]
    fn a_row_that_will_not_do_says_so_with_its_line_and_the_next_one_is_read() {
        let good = |number| (number, r#"{"send":{"wamid":"M","phone_number_id":"1","time":"5"}}"#);
        for (text, why, next) in [
            (&b"a,b\n"[..], "the row has 2 fields, the header names 3", 3),
            (b"a,b,5,\n", "the row has 4 fields, the header names 3", 3),
            (b"a\xff,b,5\n", "the row is not UTF-8", 3),
            (
                b"a,\"b\nc\"\n",
                "the row from line 2 to line 3 has 2 fields, the header names 3; is a quote not \
                 closed?",
                4,
            ),
        ] {
            let text = [&b"wamid,phone_number_id,time\n"[..], text, b"M,1,5\n"].concat();
            let (number, line) = good(next);
            let shown = String::from_utf8_lossy(&text).into_owned();
            let expected = [(2, format!("bad: {why}")), (number, line.to_owned())];
            assert_eq!(rows(std::io::Cursor::new(text)), expected, "{shown}");
        }
    }

    #[test]
    fn a_row_has_a_limit_and_an_open_quote_costs_no_more_than_that() {
        let row = |bytes: usize| {
            let text = format!("wamid,phone_number_id,time\n{},1,5\nM,1,5\n", "x".repeat(bytes));
            rows(std::io::Cursor::new(text))
        };
        assert!(row(ROW_BYTES_MAX - 2)[0].1.len() > ROW_BYTES_MAX);
        assert_eq!(row(ROW_BYTES_MAX - 1)[0].1, "bad: the row has more than 65536 bytes");
        assert_eq!(row(ROW_BYTES_MAX)[1].0, 3);
        let open = format!("wamid,phone_number_id,time\n\"x,1,5\n{}", "M,1,5\n".repeat(20_000));
        let read = rows(std::io::Cursor::new(open));
        let why = "bad: the row from line 2 to line 10924 has more than 65536 bytes; is a quote \
            not closed?";
        assert_eq!(read[0], (2, why.to_owned()));
        assert_eq!((read[1].0, read.last().unwrap().0), (10_925, 20_002));
        assert!(read[1].1.contains("send"));
    }

    #[test]
    fn a_row_of_five_gigabytes_is_passed_over_in_bounded_memory() {
        let begins = &b"wamid,phone_number_id,time\n"[..];
        let long = begins.chain(Long::new(5_000_000_000)).chain(&b"\nM,1,5\n"[..]);
        let mut lines = Lines::csv(Box::new(long)).unwrap();
        assert!(matches!(lines.next().unwrap(), Some((2, Line::Bad(_)))));
        assert!(matches!(lines.next().unwrap(), Some((3, Line::Text(_)))));
    }

    #[test]
    fn a_header_that_will_not_do_is_refused_with_what_there_is() {
        for (header, part) in [
            ("", "it is empty"),
            ("\n\n", "it is empty"),
            ("wamid;phone_number_id;time\n", "separated by `;`; only commas will do"),
            ("wamid\tphone_number_id\n", "separated by `\\t`"),
            ("wamid,phone_number_id,time,colour\n", "`colour` is no column of sends; there are"),
            ("wamid,phone_number_id,time,error\n", "with a column `status` it holds statuses"),
            ("wamid,phone_number_id,time,status,x\n", "`x` is no column of statuses; there are"),
            ("wamid,wamid,time\n", "names the column `wamid` twice"),
            ("wamid\n", "does not name `phone_number_id`, `time`; there are phone_number_id,"),
            ("wamid,phone_number_id,time,pricing\n", "`pricing` is no column"),
        ] {
            assert!(refused(header).contains(part), "{header:?}: {}", refused(header));
        }
        assert!(refused(&"x".repeat(ROW_BYTES_MAX + 1)).contains("is it CSV?"));
        assert!(refused(&"x,".repeat(FIELDS_MAX + 1)).contains("is it CSV?"));
    }

    #[test]
    fn rows_are_passed_over_up_to_the_line_named() {
        let text = "wamid,phone_number_id,time\nA,1,5\n\"B\nB\",1,5\n\nC,1,5\n";
        for (last, next) in [(0, Some(2)), (1, Some(2)), (2, Some(3)), (3, Some(6)), (6, None)] {
            let from = BufReader::new(std::io::Cursor::new(text));
            let mut lines = Lines::csv(Box::new(from)).unwrap();
            lines.skip_to(last).unwrap();
            assert_eq!(lines.next().unwrap().map(|(number, _)| number), next, "{last}");
        }
    }
}
