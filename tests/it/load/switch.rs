//! A switch between two servers as a cutover does it, the proof that nothing was lost, and that the proof can fail.

use pgrun::{
    aws::{Aws, Keys, Mark, Secrets, Settings, Tags, token},
    base::{Redactor, Secret, config::Config},
    lab::{
        Lab, LabOptions,
        postgres::{Scratch, ServerUser},
    },
    load::{Applications, Endpoint, Load, Operation, Outcome, Probes, Proof, Source},
};

use super::stage::{Stage, plan, until};

/// Where the applications are told to go: a secret in the lab, as it is read by them and repointed by a cutover.
struct Signpost {
    secrets: Secrets,
    _lab: Lab,
    _folder: Scratch,
}

impl Signpost {
    async fn to(endpoint: &Endpoint) -> Self {
        let folder = Scratch::new(ServerUser::choose().unwrap().as_ref()).unwrap();
        let config = Config::from_env().unwrap();
        let lab = Lab::start(&config, LabOptions::at(folder.path().join("lab"))).await.unwrap();
        let settings = Settings {
            region: Some("eu-west-1".into()),
            endpoint: Some(lab.url().into()),
            keys: Some(Keys { id: "lab".into(), secret: Secret::new("lab lab lab"), token: None }),
            ..Settings::default()
        };
        let secrets = Aws::connect(settings, Redactor::default()).secrets();
        let value = serde_json::json!({
            "host": endpoint.host, "port": endpoint.port, "username": endpoint.user, "dbname": endpoint.database,
            "password": endpoint.password.expose(),
        });
        let (value, mark) = (Secret::new(value.to_string()), Mark::new("run", "create"));
        secrets.create("app", &value, &token("run", "create", "app"), None, &Tags::new(), &mark).await.unwrap();
        Self { secrets, _lab: lab, _folder: folder }
    }

    fn source(&self) -> Source {
        let secrets = self.secrets.clone();
        Source::new(move || {
            let secrets = secrets.clone();
            async move {
                let stored = secrets.current("app").await?;
                let fields = stored.fields()?;
                let text = |name: &str| fields[name].as_text().unwrap().to_owned();
                Ok(Endpoint {
                    host: text("host"),
                    port: u16::try_from(fields["port"].as_int().unwrap()).unwrap(),
                    database: text("dbname"),
                    user: text("username"),
                    password: stored.password()?,
                    tls: None,
                })
            }
        })
    }
}

/// Fence, copy, open, repoint: no write is lost or doubled, and each client's outage is known. Back again in a second
/// lap. Then rows are taken away, doubled and put back, and the proof must see each of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_proved_and_damage_is_found() {
    let (blue, green) = tokio::join!(Stage::new(), Stage::new());
    green.fence().await;
    let signpost = Signpost::to(&blue.endpoint()).await;
    let plan = plan()
        .probes(Probes::new(blue.endpoint(), Some(green.endpoint())))
        .applications(Applications { idle: 13, ..Applications::new(3, signpost.source()) });
    let load = Load::start(plan).await.unwrap();
    assert_eq!((load.status().idle, load.status().idle_ended), (13, 0));
    until(&load, "work on BLUE", |status| status.acknowledged > 300).await;

    blue.fence().await;
    blue.copy_to(&green).await;
    green.open().await;
    let target = green.endpoint();
    signpost.secrets.repoint("app", &target.host, target.port, "run", "repoint").await.unwrap();
    let address = target.address();
    let before = load.status().acknowledged;
    until(&load, "work on GREEN", |s| s.endpoint.as_ref() == Some(&address) && s.acknowledged > before + 300).await;
    assert_eq!(load.status().running, 7);
    // The pools' sessions were ended by the fence, and are back where the secret leads.
    until(&load, "full pools on GREEN", |status| status.idle == 13).await;
    assert!(load.status().idle_ended >= 13, "{:?}", load.status());
    let outcome = load.stop().await;

    let proof = outcome.verify(&green.endpoint()).await.unwrap();
    assert!(proof.holds() && proof.acknowledged > 600, "{proof:?}");
    assert_eq!(proof.laps[0].switch, Some((blue.endpoint().address(), address)));
    assert!(proof.outage_ms.writers.len() == 4 && proof.outage_ms.writers.iter().all(Option::is_some), "{proof:?}");
    assert_eq!(proof.application_outage_ms.writers.len(), 3);
    assert!(proof.errors.contains_key("28000"), "the fence was met: {proof:?}");
    for operation in [Operation::Update, Operation::Erase, Operation::Transfer, Operation::Ticket, Operation::Note] {
        assert!(outcome.ledger.records.iter().any(|record| record.operation == operation), "{operation:?}");
    }
    let ticks = &outcome.ledger.series;
    assert_eq!(ticks.iter().find_map(|tick| tick.probes.place()), Some(0));
    assert_eq!(ticks.iter().rev().find_map(|tick| tick.probes.place()), Some(1));

    damage_is_found(&outcome, &green, &proof).await;
    let on_green = outcome.ledger.records.iter().filter(|r| r.place == 1 && r.operation == Operation::Probe).count();
    let old = outcome.verify(&blue.endpoint()).await;
    // BLUE cannot be asked by the fenced role; opened, it lacks what GREEN took.
    assert_eq!(old.unwrap_err().fact("sqlstate"), Some("28000"));
    blue.open().await;
    assert!(outcome.verify(&blue.endpoint()).await.unwrap().lost >= on_green as u64);
}

/// Each damage is made, seen with the right number, and mended.
async fn damage_is_found(outcome: &Outcome, green: &Stage, clean: &Proof) {
    let verify = async || outcome.verify(&green.endpoint()).await.unwrap();
    let in_doubt = clean.in_doubt_present;

    green.run("CREATE TABLE kept AS SELECT * FROM {s}.probe ORDER BY id LIMIT 3").await;
    green.run("DELETE FROM {s}.probe WHERE id IN (SELECT id FROM kept)").await;
    let proof = verify().await;
    assert_eq!((proof.lost + (in_doubt - proof.in_doubt_present), proof.doubled), (3, 0));
    assert!(proof.lost_examples[0].starts_with("probe "), "{:?}", proof.lost_examples);
    green.run("INSERT INTO {s}.probe OVERRIDING SYSTEM VALUE SELECT * FROM kept").await;

    green.run("INSERT INTO {s}.probe (tag) SELECT tag FROM kept UNION ALL SELECT tag FROM kept LIMIT 4").await;
    let proof = verify().await;
    assert_eq!((proof.lost, proof.doubled), (0, 4));
    assert_eq!(proof.doubled_examples.len(), 3);
    green.run("DELETE FROM {s}.probe WHERE tag IN (SELECT tag FROM kept)").await;
    green.run("INSERT INTO {s}.probe OVERRIDING SYSTEM VALUE SELECT * FROM kept").await;

    let accounts = green.run("UPDATE {s}.account SET balance = balance + 1000").await;
    let proof = verify().await;
    assert!(proof.lost == 0 && proof.doubled > 990 * accounts, "{proof:?}");
    green.run("UPDATE {s}.account SET balance = balance - 1000").await;

    let erased = outcome.ledger.records.iter().find(|record| record.operation == Operation::Erase).unwrap();
    let tag = outcome.ledger.tag(erased);
    green.run(&format!("INSERT INTO {{s}}.note VALUES ('{tag}', 'is back')")).await;
    assert_eq!(verify().await.lost, 1, "a deletion that was undone is a lost write");
    green.run(&format!("DELETE FROM {{s}}.note WHERE tag = '{tag}'")).await;

    green.run("CREATE TABLE torn AS SELECT * FROM {s}.transfer ORDER BY id LIMIT 1").await;
    green.run("DELETE FROM {s}.transfer WHERE id IN (SELECT id FROM torn)").await;
    let proof = verify().await;
    assert_eq!(proof.lost + proof.torn, 1, "half a transaction");
    green.run("INSERT INTO {s}.transfer SELECT * FROM torn").await;
    assert_eq!(verify().await, *clean, "mended");
}

/// Two servers that are both open: the fence that was forgotten must show, although no row is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaking_fence_is_seen() {
    let (blue, green) = tokio::join!(Stage::new(), Stage::new());
    let load = Load::start(plan().probes(Probes::new(blue.endpoint(), Some(green.endpoint())))).await.unwrap();
    until(&load, "work on BLUE", |status| status.acknowledged > 50).await;
    let one = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
               WHERE application_name = 'pgrun/load' LIMIT 1) AS one";
    assert_eq!(blue.number(one).await, 1);
    let before = load.status().acknowledged;
    until(&load, "work on both", |status| status.acknowledged > before + 200).await;
    let outcome = load.stop().await;
    let proof = outcome.verify(&blue.endpoint()).await.unwrap();
    assert!(proof.split_brain > 0 && !proof.holds(), "{proof:?}");
    assert!(proof.lost > 0, "what GREEN took is not on BLUE");
}
