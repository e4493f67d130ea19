//! TRUNCATE.

use super::scene::{Scene, ops};
use serde_json::Value as Json;

#[tokio::test(flavor = "multi_thread")]
async fn truncates_are_records_only_where_they_are_wanted() {
    for (wanted, expected) in [(false, "cc"), (true, "ctc")] {
        let scene = Scene::new("truncate", "CREATE TABLE t (id int PRIMARY KEY)", |config| {
            config.table("public.t").toml_text(&format!("[format]\ntruncate = {wanted}"))
        })
        .await;
        scene.change(&["INSERT INTO t VALUES (1)", "TRUNCATE t", "INSERT INTO t VALUES (2)"]).await;
        let seen = scene.table("public.t").await;
        assert_eq!(ops(&seen), expected);
        if let Some(truncate) = seen.iter().find(|seen| seen.op() == "t") {
            assert_eq!(truncate.record.key, None);
            assert_eq!((truncate.before(), truncate.after()), (&Json::Null, &Json::Null));
        }
        scene.stop().await;
    }
}
