//! SQL over the collector's store, by DataFusion.
//!
//! In: tables (directories of Parquet files with their schema, or a batch), one SELECT, a format. Out: rows
//! on a writer. A crate of its own because DataFusion takes longer to build than all else together; it
//! knows nothing of Weir but what its caller hands over. Queries can read and nothing else: statements
//! that define, change or copy are refused.

#![forbid(unsafe_code)]

mod output;

pub use output::{Format, TABLE_ROWS_MAX};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Most memory that a query takes before it spills to the disk or fails.
pub const QUERY_MEMORY_BYTES_MAX: usize = 1 << 30;

/// A table that a query can name.
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Where its rows are.
    pub rows: Rows,
}

/// Where a table's rows are.
pub enum Rows {
    /// In Parquet files.
    Parquet {
        /// Directories whose files end in `.parquet`; none is an empty table.
        directories: Vec<PathBuf>,
        /// The table's columns; one that a file lacks is null.
        schema: SchemaRef,
        /// Keeps rows whose column (a timestamp in nanoseconds, UTC) is at or past this value.
        since: Option<(&'static str, i64)>,
    },
    /// In memory.
    Batch(RecordBatch),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SqlError {
    /// The query is wrong; the message says where.
    Query(String),
    /// The system or the store failed.
    System(String),
    /// The rows could not be written; a broken pipe is one of these.
    Output(io::Error),
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SqlError::Query(message) => write!(f, "query: {message}"),
            SqlError::System(message) => write!(f, "query failed: {message}"),
            SqlError::Output(error) => write!(f, "query: output: {error}"),
        }
    }
}

impl std::error::Error for SqlError {}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> SqlError {
        let message = error.strip_backtrace();
        match error.find_root() {
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Execution(_)
            | DataFusionError::ArrowError(..) => SqlError::Query(message),
            _ => SqlError::System(message),
        }
    }
}

/// What a query gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Rows written.
    pub rows: usize,
    /// Whether there were more, which the format leaves out.
    pub cut: bool,
}

/// Runs one query and writes its rows as they come.
pub fn run(sql: &str, tables: Vec<Table>, format: Format, out: &mut dyn Write) -> Result<Answer, SqlError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SqlError::System(error.to_string()))?;
    runtime.block_on(answer(sql, tables, format, out))
}

async fn answer(
    sql: &str,
    tables: Vec<Table>,
    format: Format,
    out: &mut dyn Write,
) -> Result<Answer, SqlError> {
    let environment = RuntimeEnvBuilder::new().with_memory_limit(QUERY_MEMORY_BYTES_MAX, 1.0).build_arc()?;
    let context =
        SessionContext::new_with_config_rt(SessionConfig::new().with_information_schema(true), environment);
    for table in tables {
        register(&context, table)?;
    }
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(sql, options).await?;
    let mut rows = frame.execute_stream().await?;
    let mut output = output::Output::new(format, rows.schema(), out)?;
    while let Some(batch) = rows.next().await {
        if !output.write(&batch?)? {
            break;
        }
    }
    output.finish()
}

fn register(context: &SessionContext, table: Table) -> Result<(), SqlError> {
    match table.rows {
        Rows::Batch(batch) => {
            let rows = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
            context.register_table(table.name, Arc::new(rows))?;
        }
        Rows::Parquet { directories, schema, .. } if directories.is_empty() => {
            context.register_table(table.name, Arc::new(EmptyTable::new(schema)))?;
        }
        Rows::Parquet { directories, schema, since } => {
            let urls: Result<Vec<_>, _> = directories
                .iter()
                // The slash says that it is a directory.
                .map(|directory| ListingTableUrl::parse(format!("{}/", directory.display())))
                .collect();
            let options =
                ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
            let config = ListingTableConfig::new_with_multi_paths(urls?)
                .with_listing_options(options)
                .with_schema(schema);
            let mut frame = context.read_table(Arc::new(ListingTable::try_new(config)?))?;
            if let Some((column, nanos)) = since {
                frame = frame.filter(
                    col(column).gt_eq(lit(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())))),
                )?;
            }
            context.register_table(table.name, frame.into_view())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
