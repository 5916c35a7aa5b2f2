//! The formats: rows of values into bytes, CSV and NDJSON here, Parquet in a file of its own.
//!
//! To add one, add a variant to [`Format`], its ending, and its arm in [`Encoder`].

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::columns::{Field, Value, in_utc};
use super::parquet::Parquet;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 4180, UTF-8, with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Apache Parquet, compressed with zstd.
    Parquet,
}

impl Format {
    /// What the ending of a name says.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Writes rows in one of the formats.
pub(super) enum Encoder<W: Write + Send> {
    Csv(Box<csv::Writer<W>>),
    Ndjson(W, Vec<Field>, Vec<u8>),
    Parquet(Box<Parquet<W>>),
}

impl<W: Write + Send> Encoder<W> {
    /// Begins: of CSV the header is written, so that a file without rows has its columns.
    pub(super) fn begin(format: Format, fields: Vec<Field>, to: W) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => {
                let mut writer =
                    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(to);
                writer.write_record(fields.iter().map(|field| field.name.as_bytes()))?;
                Self::Csv(Box::new(writer))
            }
            Format::Ndjson => Self::Ndjson(to, fields, Vec::new()),
            Format::Parquet => Self::Parquet(Box::new(Parquet::begin(&fields, to)?)),
        })
    }

    /// Writes a row: a value for each field.
    pub(super) fn row(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        match self {
            Self::Csv(writer) => {
                for value in values {
                    match value {
                        Value::Missing => writer.write_field("")?,
                        Value::Integer(number) => writer.write_field(number.to_string())?,
                        Value::Text(text) => writer.write_field(text.as_bytes())?,
                        Value::Time(time) => writer.write_field(in_utc(*time))?,
                        Value::Json(json) => writer.write_field(json)?,
                    }
                }
                Ok(writer.write_record(None::<&[u8]>)?)
            }
            Self::Ndjson(to, fields, line) => {
                line.clear();
                for (index, (field, value)) in fields.iter().zip(values).enumerate() {
                    line.push(if index == 0 { b'{' } else { b',' });
                    serde_json::to_writer(&mut *line, &field.name)?;
                    line.push(b':');
                    match value {
                        Value::Missing => line.extend_from_slice(b"null"),
                        Value::Integer(number) => serde_json::to_writer(&mut *line, number)?,
                        Value::Text(text) => serde_json::to_writer(&mut *line, text)?,
                        Value::Time(time) => serde_json::to_writer(&mut *line, &in_utc(*time))?,
                        Value::Json(json) => line.extend_from_slice(json.as_bytes()),
                    }
                }
                line.extend_from_slice(b"}\n");
                to.write_all(line)
            }
            Self::Parquet(parquet) => parquet.row(values),
        }
    }

    /// Writes what is left and gives back what it was written to.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Csv(writer) => writer.into_inner().map_err(|error| {
                let error = error.error();
                io::Error::new(error.kind(), error.to_string())
            }),
            Self::Ndjson(to, ..) => Ok(to),
            Self::Parquet(parquet) => parquet.finish(),
        }
    }
}
