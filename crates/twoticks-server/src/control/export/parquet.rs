//! Parquet, column by column: rows are gathered until there are enough for a row group.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::PROGRAM;
use super::columns::{Field, Kind, Value};

/// The most rows of one row group.
const ROW_GROUP_ROWS: usize = 65_536;
/// A row group ends when its texts have this many bytes together, even if there are more rows.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A file being written.
pub(super) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Gathered>,
    rows: usize,
    /// Of texts.
    bytes: usize,
}

/// The values of one column that wait for their row group.
struct Gathered {
    /// 1 where there is a value, 0 where it is missing; of optional columns.
    levels: Option<Vec<i16>>,
    values: Values,
}

enum Values {
    Integers(Vec<i64>),
    /// All in one piece, and where each ends.
    Texts(Vec<u8>, Vec<usize>),
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn begin(fields: &[Field], to: W) -> io::Result<Self> {
        let types = fields.iter().map(|field| leaf(field).map(Arc::new));
        let types = types.collect::<Result<_, _>>().map_err(as_io)?;
        let schema = Type::group_type_builder("row").with_fields(types).build().map_err(as_io)?;
        let properties = WriterProperties::builder()
            .set_created_by(PROGRAM.to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            // It would be kept in memory for the whole file.
            .set_offset_index_disabled(true)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::Chunk)
            .build();
        let writer = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties));
        let columns = fields.iter().map(Gathered::new).collect();
        Ok(Self { writer: writer.map_err(as_io)?, columns, rows: 0, bytes: 0 })
    }

    pub(super) fn row(&mut self, values: &[Value<'_>]) -> io::Result<()> {
        for (column, value) in self.columns.iter_mut().zip(values) {
            self.bytes += column.push(value);
        }
        self.rows += 1;
        if self.rows >= ROW_GROUP_ROWS || self.bytes >= ROW_GROUP_BYTES {
            self.flush().map_err(as_io)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.rows > 0 {
            self.flush().map_err(as_io)?;
        }
        self.writer.into_inner().map_err(as_io)
    }

    /// Writes a row group of what was gathered.
    fn flush(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let Some(mut writer) = group.next_column()? else { break };
            let levels = column.levels.as_deref();
            match &mut column.values {
                Values::Integers(numbers) => {
                    writer.typed::<Int64Type>().write_batch(numbers, levels, None)?;
                    numbers.clear();
                }
                Values::Texts(bytes, ends) => {
                    let bytes = Bytes::from(std::mem::take(bytes));
                    let starts = std::iter::once(0).chain(ends.iter().copied());
                    let texts: Vec<ByteArray> = starts
                        .zip(ends.iter().copied())
                        .map(|(start, end)| bytes.slice(start..end).into())
                        .collect();
                    writer.typed::<ByteArrayType>().write_batch(&texts, levels, None)?;
                    ends.clear();
                }
            }
            if let Some(levels) = &mut column.levels {
                levels.clear();
            }
            writer.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

impl Gathered {
    fn new(field: &Field) -> Self {
        let values = match field.kind {
            Kind::Integer | Kind::Time => Values::Integers(Vec::new()),
            Kind::Text | Kind::Json => Values::Texts(Vec::new(), Vec::new()),
        };
        Self { levels: field.optional.then(Vec::new), values }
    }

    /// Takes a value in; how many bytes of text it has.
    fn push(&mut self, value: &Value<'_>) -> usize {
        if let Some(levels) = &mut self.levels {
            levels.push(i16::from(*value != Value::Missing));
        }
        match (&mut self.values, value) {
            (Values::Integers(numbers), Value::Integer(number)) => numbers.push(*number),
            (Values::Integers(numbers), Value::Time(time)) => numbers.push(time.0),
            (Values::Texts(bytes, ends), Value::Text(text)) => {
                bytes.extend_from_slice(text.as_bytes());
                ends.push(bytes.len());
                return text.len();
            }
            (Values::Texts(bytes, ends), Value::Json(json)) => {
                bytes.extend_from_slice(json.as_bytes());
                ends.push(bytes.len());
                return json.len();
            }
            (_, Value::Missing) => {}
            (Values::Integers(_), Value::Text(_) | Value::Json(_))
            | (Values::Texts(..), Value::Integer(_) | Value::Time(_)) => {
                unreachable!("a column's constructor gives its kind and its values")
            }
        }
        0
    }
}

fn leaf(field: &Field) -> Result<Type, ParquetError> {
    let (physical, logical) = match field.kind {
        Kind::Integer => (Physical::INT64, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Kind::Text | Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let repetition = if field.optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    Type::primitive_type_builder(&field.name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build()
}

/// The operating system's words, where they are the cause.
fn as_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::RowGroupMetaData;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;

    fn rows_of_groups(texts: impl IntoIterator<Item = usize>) -> Vec<i64> {
        let field = |name: &'static str, kind, optional| Field {
            name: name.into(),
            kind,
            optional,
            unit: "",
            meaning: "A field.".into(),
        };
        let fields = [field("n", Kind::Integer, false), field("text", Kind::Text, true)];
        let mut parquet = Parquet::begin(&fields, Vec::new()).unwrap();
        for length in texts {
            let text = match length {
                0 => Value::Missing,
                length => Value::Text("x".repeat(length).into()),
            };
            parquet.row(&[Value::Integer(7), text]).unwrap();
        }
        let file = Bytes::from(parquet.finish().unwrap());
        let reader = SerializedFileReader::new(file).unwrap();
        reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect()
    }

    #[test]
    fn a_row_group_ends_at_its_rows_or_at_its_bytes() {
        let rows = |n: usize| std::iter::repeat_n(0, n);
        let most = i64::try_from(ROW_GROUP_ROWS).unwrap();
        assert_eq!(rows_of_groups(rows(0)), [0; 0]);
        assert_eq!(rows_of_groups(rows(1)), [1]);
        assert_eq!(rows_of_groups(rows(ROW_GROUP_ROWS)), [most]);
        assert_eq!(rows_of_groups(rows(ROW_GROUP_ROWS + 1)), [most, 1]);
        let half = ROW_GROUP_BYTES / 2;
        assert_eq!(rows_of_groups([half, half, 1]), [2, 1]);
        assert_eq!(rows_of_groups([half, half - 1, 1, 1]), [3, 1]);
    }
}
