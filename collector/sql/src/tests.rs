//! Queries over small stores made here.

use super::*;
use datafusion::arrow::array::{
    ListBuilder, StringArray, StringBuilder, TimestampNanosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use std::fs::{self, File};
use std::path::Path;

fn schema(extra: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("end_time", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), false),
        Field::new("src_ip", DataType::Utf8, false),
        Field::new("bytes", DataType::UInt64, false),
        Field::new("names", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
    ];
    if extra {
        fields.push(Field::new("later", DataType::Utf8, true));
    }
    Arc::new(Schema::new(fields))
}

/// Rows of one file: seconds, source, bytes.
fn put(directory: &Path, partition: &str, rows: &[(i64, &str, u64)]) -> PathBuf {
    let partition = directory.join(partition);
    fs::create_dir_all(&partition).unwrap();
    let mut names = ListBuilder::new(StringBuilder::new());
    rows.iter().for_each(|_| names.append_value([Some("a.example"), Some("b.example")]));
    let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.0 * 1_000_000_000));
    let batch = RecordBatch::try_new(
        schema(false),
        vec![
            Arc::new(times.with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.2))),
            Arc::new(names.finish()),
        ],
    )
    .unwrap();
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
    let properties = WriterProperties::builder().set_compression(zstd).build();
    let file = File::create(partition.join("part-1.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema(false), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    fs::write(partition.join("part-2.unfinished"), "not parquet").unwrap();
    partition
}

fn flows(directories: Vec<PathBuf>, since: Option<i64>) -> Vec<Table> {
    let since = since.map(|seconds| ("end_time", seconds * 1_000_000_000));
    vec![Table { name: "flows", rows: Rows::Parquet { directories, schema: schema(true), since } }]
}

fn ask(sql: &str, tables: Vec<Table>, format: Format) -> Result<(String, Answer), SqlError> {
    let mut out = Vec::new();
    let answer = run(sql, tables, format, &mut out)?;
    Ok((String::from_utf8(out).unwrap(), answer))
}

fn two_hours() -> (tempfile::TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let first = put(directory.path(), "date=1970-01-01/hour=00", &[(10, "10.0.0.1", 5), (20, "10.0.0.2", 7)]);
    let second = put(directory.path(), "date=1970-01-01/hour=01", &[(3700, "10.0.0.1", 11)]);
    (directory, vec![first, second])
}

#[test]
fn rows_of_every_directory_are_grouped() {
    let (_directory, partitions) = two_hours();
    let sql =
        "SELECT src_ip, sum(bytes) AS total, count(*) AS flows FROM flows GROUP BY src_ip ORDER BY src_ip";
    let (text, answer) = ask(sql, flows(partitions, None), Format::Csv).unwrap();
    assert_eq!(text, "src_ip,total,flows\n10.0.0.1,16,2\n10.0.0.2,7,1\n");
    assert_eq!(answer, Answer { rows: 2, cut: false });
}

#[test]
fn since_keeps_rows_from_its_border_on() {
    let (_directory, partitions) = two_hours();
    for (since, rows) in [(10, 3), (11, 2), (20, 2), (3700, 1), (3701, 0)] {
        let (text, _) =
            ask("SELECT src_ip FROM flows", flows(partitions.clone(), Some(since)), Format::Json).unwrap();
        assert_eq!(text.lines().count(), rows, "{since}");
    }
}

#[test]
fn a_column_that_files_lack_is_null_and_lists_can_be_asked() {
    let (_directory, partitions) = two_hours();
    let sql = "SELECT count(later) AS later, count(*) AS all FROM flows WHERE array_has(names, 'b.example')";
    let (text, _) = ask(sql, flows(partitions, None), Format::Json).unwrap();
    assert_eq!(text, "{\"later\":0,\"all\":3}\n");
}

#[test]
fn every_format_writes_every_row() {
    let (_directory, partitions) = two_hours();
    let sql = "SELECT * FROM flows ORDER BY end_time";
    let (csv, _) = ask(sql, flows(partitions.clone(), None), Format::Csv).unwrap();
    assert!(
        csv.starts_with(
            "end_time,src_ip,bytes,names,later\n1970-01-01T00:00:10Z,10.0.0.1,5,\"[a.example, b.example]\",\n"
        ),
        "{csv}"
    );
    let (json, _) = ask(sql, flows(partitions.clone(), None), Format::Json).unwrap();
    assert!(json.starts_with("{\"end_time\":\"1970-01-01T00:00:10Z\",\"src_ip\":\"10.0.0.1\",\"bytes\":5,\"names\":[\"a.example\",\"b.example\"]}\n"), "{json}");
    let (table, answer) = ask(sql, flows(partitions.clone(), None), Format::Table).unwrap();
    assert!(table.contains("| 1970-01-01T01:01:40Z | 10.0.0.1 | 11 "), "{table}");
    assert_eq!(answer.rows, 3);
    let mut parquet = Vec::new();
    run(sql, flows(partitions, None), Format::Parquet, &mut parquet).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.parquet");
    fs::write(&path, parquet).unwrap();
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
}

#[test]
fn an_empty_store_answers_with_no_rows() {
    let (text, answer) = ask("SELECT src_ip FROM flows", flows(Vec::new(), Some(5)), Format::Csv).unwrap();
    assert_eq!((text.as_str(), answer.rows), ("src_ip\n", 0));
    let (text, _) = ask("SELECT count(*) AS n FROM flows", flows(Vec::new(), None), Format::Json).unwrap();
    assert_eq!(text, "{\"n\":0}\n");
}

#[test]
fn a_wrong_query_says_what_is_wrong_with_it() {
    for (sql, part) in [
        ("SELEC 1", "SELEC"),
        ("SELECT nothing FROM flows", "nothing"),
        ("SELECT 1 FROM nowhere", "nowhere"),
        ("", ""),
    ] {
        match ask(sql, flows(Vec::new(), None), Format::Table) {
            Err(SqlError::Query(message)) => assert!(message.contains(part), "{message}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn nothing_but_reading_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let stolen = directory.path().join("out.csv");
    for sql in [
        format!("COPY (SELECT 1) TO '{}'", stolen.display()),
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "DROP TABLE flows".to_owned(),
        "INSERT INTO flows SELECT * FROM flows".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
    ] {
        assert!(
            matches!(ask(&sql, flows(Vec::new(), None), Format::Table), Err(SqlError::Query(_))),
            "{sql}"
        );
    }
    assert!(!stolen.exists());
}

#[test]
fn a_long_table_is_cut_and_says_so() {
    let sql = "SELECT * FROM generate_series(1, 30000)";
    let (_, answer) = ask(sql, Vec::new(), Format::Table).unwrap();
    assert_eq!(answer, Answer { rows: TABLE_ROWS_MAX, cut: true });
    let (text, answer) = ask(sql, Vec::new(), Format::Csv).unwrap();
    assert_eq!((text.lines().count(), answer.rows), (30_001, 30_000));
}

#[test]
fn a_reader_that_went_away_is_an_output_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Table, Format::Json, Format::Csv, Format::Parquet] {
        match run("SELECT 1 AS one", Vec::new(), format, &mut Gone) {
            Err(SqlError::Output(error)) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
            other => panic!("{format:?}: {other:?}"),
        }
    }
}
