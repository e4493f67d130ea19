//! `walferry snapshot`: on demand, over the admin socket.

use integration_tests::walferry::command;
use integration_tests::{Config, Walferry, wait};

use super::restarts::compare;
use super::{Scene, brief};

async fn scene(stem: &str) -> (Scene, Config) {
    let scene = Scene::newest(
        stem,
        "CREATE TABLE a (id int PRIMARY KEY, version int NOT NULL DEFAULT 0);
         INSERT INTO a SELECT generate_series(1, 3000);
         CREATE TABLE keyless (id int, version int NOT NULL DEFAULT 0);
         INSERT INTO keyless VALUES (1), (2)",
    )
    .await;
    let config = scene
        .config(stem)
        .snapshot("mode = \"never\"")
        .table("public.a")
        .table_with("public.keyless", "inserts_only = true");
    let socket = integration_tests::services::short_directory("admin").join("socket");
    let config = config.toml_text(&format!("[admin]\nsocket = {:?}", socket.display().to_string()));
    (scene, config)
}

/// Runs a command; its exit code and what it printed.
async fn ask(config: &Config, arguments: &[&str]) -> (i32, String) {
    let output = command(&[&["snapshot"], arguments].concat(), Some(config)).await;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code().unwrap_or(-1), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_read_when_somebody_asks() {
    let (scene, config) = scene("demand").await;
    let (code, text) = ask(&config, &["public.a"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("nobody listens") && text.contains("walferry run"), "{text}");

    let walferry = Walferry::run(&config).await;
    scene.caught_up(&config).await;
    assert!(!scene.kafka.topics().await.contains(&config.topic("public.a")), "mode is never");
    let (code, text) = ask(&config, &["public.a", "--where", "id > 2990"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("delivered") && text.contains("public.a"), "{text}");
    let topic = config.topic("public.a");
    assert_eq!(scene.all_values(&topic).await.len(), 10);
    let (code, text) = ask(&config, &["public.a"]).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(compare(&scene, &config, "a").await, 3010);

    // Without a key, and without a listing.
    let (code, text) = ask(&config, &["public.keyless"]).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("no primary key") && text.contains("--engine frozen"), "{text}");
    let (code, text) = ask(&config, &["public.other"]).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("not listed"), "{text}");
    let (code, text) = ask(&config, &["public.keyless", "--engine", "frozen"]).await;
    assert_eq!(code, 0, "{text}");
    let keyless = scene.values(&config.topic("public.keyless"), 2).await;
    assert_eq!(brief(&keyless[1]).1, "last");
    let (code, text) = ask(&config, &["--status"]).await;
    assert_eq!((code, text.trim()), (0, "Nothing is being read."));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_paused_resumed_kept_over_a_restart_and_given_up() {
    let (scene, config) = scene("paused").await;
    let config = config.snapshot("max_rows_per_second = 1000");
    let walferry = Walferry::run(&config).await;
    let (code, text) = ask(&config, &["--pause"]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = ask(&config, &["public.a", "--no-wait"]).await;
    assert_eq!(code, 0, "{text}");
    let (_, text) = ask(&config, &["--status"]).await;
    assert!(text.contains("public.a: paused, 0 rows"), "{text}");
    let (code, text) = ask(&config, &["public.a"]).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("being read already") && text.contains("--stop"), "{text}");
    let (code, text) = ask(&config, &["--resume"]).await;
    assert_eq!(code, 0, "{text}");
    let topic = config.topic("public.a");
    scene.kafka.first_records(&topic, 600, wait::LONG).await;
    // What was accepted outlives the process.
    walferry.kill();
    let walferry = Walferry::run(&config).await;
    walferry.wait_log("the table was read and delivered", wait::LONG).await;
    scene.caught_up(&config).await;
    compare(&scene, &config, "a").await;

    let (code, text) = ask(&config, &["public.a", "--no-wait"]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = ask(&config, &["--stop", "public.a"]).await;
    assert_eq!(code, 0, "{text}");
    let (_, text) = ask(&config, &["--status"]).await;
    assert_eq!(text.trim(), "Nothing is being read.");
    let (code, text) = ask(&config, &["--stop", "public.a"]).await;
    assert_eq!(code, 2, "{text}");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
