//! The one place where the stages meet: threads, queues, and the path of a record.
