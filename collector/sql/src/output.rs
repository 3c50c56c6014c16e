//! Rows into text or Parquet.

use crate::{Answer, SqlError};
use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::{csv, json, util::pretty};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use std::io::Write;
use std::sync::Arc;

/// Most rows of a table that is drawn; the columns' widths need all of them at once.
pub const TABLE_ROWS_MAX: usize = 10_000;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Drawn for people, at most [`TABLE_ROWS_MAX`] rows.
    Table,
    /// One JSON object per line; what is null is left out.
    Json,
    /// CSV with a header; lists as text.
    Csv,
    /// One Parquet file.
    Parquet,
}

pub(crate) struct Output<'a> {
    out: &'a mut dyn Write,
    schema: SchemaRef,
    rows: usize,
    cut: bool,
    kind: Kind,
}

enum Kind {
    Table(Vec<RecordBatch>),
    Json,
    Csv,
    /// The writer's bytes are taken out of its memory as they come.
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

fn failed(error: impl std::fmt::Display) -> SqlError {
    SqlError::System(error.to_string())
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        format: Format,
        schema: SchemaRef,
        out: &'a mut dyn Write,
    ) -> Result<Output<'a>, SqlError> {
        let kind = match format {
            Format::Table => Kind::Table(Vec::new()),
            Format::Json => Kind::Json,
            Format::Csv => Kind::Csv,
            Format::Parquet => {
                let level = ZstdLevel::try_new(3).map_err(failed)?;
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer =
                    ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).map_err(failed)?;
                Kind::Parquet(Box::new(writer))
            }
        };
        let mut output = Output { out, schema, rows: 0, cut: false, kind };
        if matches!(output.kind, Kind::Csv) {
            let header = RecordBatch::new_empty(output.schema.clone());
            output.csv(&header, true)?;
        }
        Ok(output)
    }

    /// Writes a batch; whether more are wanted.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<bool, SqlError> {
        let mut bytes = Vec::new();
        match &mut self.kind {
            Kind::Table(batches) => {
                let room = TABLE_ROWS_MAX.saturating_sub(self.rows);
                self.cut = batch.num_rows() > room;
                let kept = batch.slice(0, batch.num_rows().min(room));
                self.rows += kept.num_rows();
                batches.push(kept);
                return Ok(!self.cut);
            }
            Kind::Json => {
                let mut writer = json::LineDelimitedWriter::new(&mut bytes);
                writer.write(batch).map_err(failed)?;
                writer.finish().map_err(failed)?;
            }
            Kind::Csv => {
                self.csv(batch, false)?;
            }
            Kind::Parquet(writer) => {
                writer.write(batch).map_err(failed)?;
                bytes.append(writer.inner_mut());
            }
        }
        self.rows += batch.num_rows();
        self.out.write_all(&bytes).map_err(SqlError::Output)?;
        Ok(true)
    }

    fn csv(&mut self, batch: &RecordBatch, header: bool) -> Result<(), SqlError> {
        let mut bytes = Vec::new();
        let mut writer = csv::WriterBuilder::new().with_header(header).build(&mut bytes);
        writer.write(&without_nesting(batch).map_err(failed)?).map_err(failed)?;
        drop(writer);
        self.out.write_all(&bytes).map_err(SqlError::Output)
    }

    pub(crate) fn finish(self) -> Result<Answer, SqlError> {
        let Output { out, schema, rows, cut, kind } = self;
        match kind {
            Kind::Table(mut batches) => {
                if batches.is_empty() {
                    batches.push(RecordBatch::new_empty(schema));
                }
                let table = pretty::pretty_format_batches(&batches).map_err(failed)?;
                writeln!(out, "{table}").map_err(SqlError::Output)?;
            }
            Kind::Json | Kind::Csv => {}
            Kind::Parquet(writer) => {
                let bytes = writer.into_inner().map_err(failed)?;
                out.write_all(&bytes).map_err(SqlError::Output)?;
            }
        }
        out.flush().map_err(SqlError::Output)?;
        Ok(Answer { rows, cut })
    }
}

/// Lists and structs as text, which is all that CSV can hold.
fn without_nesting(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(text_of(column)?));
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn text_of(column: &dyn Array) -> Result<StringArray, ArrowError> {
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
    let text =
        |row| if column.is_null(row) { Ok(None) } else { formatter.value(row).try_to_string().map(Some) };
    (0..column.len()).map(text).collect()
}
