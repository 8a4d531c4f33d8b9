//! The behaviours every engine shows.

mod adoption;
mod blobs;
mod database;
mod jobs;
mod listings;
mod manifests;
mod undo;
mod uploads;

/// Makes a test of each behaviour for each engine.
macro_rules! on_every_engine {
    ($($behaviour:ident),* $(,)?) => {
        crate::fixture::on_every_database!($($behaviour),*);
        mod memory {
            $(#[tokio::test] async fn $behaviour() { super::$behaviour(&super::Database::memory().await).await })*
        }
    };
}
use on_every_engine;
