//! Store: records and alerts as Parquet, partitioned by time.
