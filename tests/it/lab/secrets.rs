//! Secrets Manager's contract of labels and tokens, asked by the real SDK over HTTP. Each row is one that some emulator
//! breaks.

use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{Filter, FilterNameStringType},
};

use super::stage::Stage;

const ONE: &str = "11111111-1111-4111-8111-111111111111";
const TWO: &str = "22222222-2222-4222-8222-222222222222";
const THREE: &str = "33333333-3333-4333-8333-333333333333";

/// Code and HTTP status of a refusal.
fn refused<T, E: ProvideErrorMetadata>(
    result: Result<T, SdkError<E, aws_sdk_secretsmanager::config::http::HttpResponse>>,
) -> String {
    let error = result.err().expect("it was not refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    format!("{} {status}", error.code().unwrap_or("no code"))
}

async fn stages(secrets: &Client, name: &str) -> String {
    let told = secrets.describe_secret().secret_id(name).send().await.unwrap();
    let mut all: Vec<String> = told
        .version_ids_to_stages()
        .unwrap()
        .iter()
        .map(|(id, labels)| {
            let mut labels = labels.clone();
            labels.sort();
            format!("{}={}", &id[..1], labels.join("+"))
        })
        .collect();
    all.sort();
    all.join(" ")
}

async fn put(secrets: &Client, token: &str, value: &str, stage: Option<&str>) {
    let request = secrets.put_secret_value().secret_id("app").client_request_token(token).secret_string(value);
    request.set_version_stages(stage.map(|stage| vec![stage.into()])).send().await.unwrap();
}

async fn value(secrets: &Client, stage: &str) -> String {
    let told = secrets.get_secret_value().secret_id("app").version_stage(stage).send().await.unwrap();
    told.secret_string().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_versions_and_replays_change_nothing() {
    let stage = Stage::set().await;
    let s = &stage.secrets;
    let create = |value: &str| s.create_secret().name("app").client_request_token(ONE).secret_string(value);
    let made = create("a").send().await.unwrap();
    assert_eq!(made.version_id(), Some(ONE), "the token becomes the version");
    assert!(made.arn().unwrap().starts_with("arn:aws:secretsmanager:eu-west-1:000000000000:secret:app-"));
    assert_eq!(create("a").send().await.unwrap().version_id(), Some(ONE), "a replay is good");
    assert_eq!(refused(create("b").send().await), "ResourceExistsException 400");
    assert_eq!(refused(s.create_secret().name("app").secret_string("a").send().await), "ResourceExistsException 400");
    put(s, TWO, "b", Some("AWSPENDING")).await;
    put(s, TWO, "b", None).await;
    assert_eq!(stages(s, "app").await, "1=AWSCURRENT 2=AWSPENDING", "a replay moves no label");
    let other = s.put_secret_value().secret_id("app").client_request_token(TWO).secret_string("c").send().await;
    assert_eq!(refused(other), "ResourceExistsException 400");
    let short = s.put_secret_value().secret_id("app").client_request_token("short").secret_string("c").send().await;
    assert_eq!(refused(short), "InvalidParameterException 400");
    let neither = s.put_secret_value().secret_id("app").send().await;
    assert_eq!(refused(neither), "InvalidParameterException 400");
    let binary = aws_sdk_secretsmanager::primitives::Blob::new([0, 255, 7]);
    s.create_secret().name("bytes").secret_binary(binary.clone()).send().await.unwrap();
    let told = s.get_secret_value().secret_id("bytes").send().await.unwrap();
    assert_eq!((told.secret_binary(), told.secret_string()), (Some(&binary), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_move_as_a_compare_and_swap() {
    let stage = Stage::set().await;
    let s = &stage.secrets;
    s.create_secret().name("app").client_request_token(ONE).secret_string("a").send().await.unwrap();
    put(s, TWO, "b", Some("AWSPENDING")).await;
    assert_eq!((value(s, "AWSCURRENT").await, value(s, "AWSPENDING").await), ("a".into(), "b".into()));
    let swap = |to: Option<&str>, from: Option<&str>, label: &str| {
        s.update_secret_version_stage()
            .secret_id("app")
            .version_stage(label)
            .set_move_to_version_id(to.map(Into::into))
            .set_remove_from_version_id(from.map(Into::into))
            .send()
    };
    let invalid = "InvalidParameterException 400";
    assert_eq!(refused(swap(Some(TWO), None, "AWSCURRENT").await), invalid, "without the present version");
    assert_eq!(refused(swap(Some(TWO), Some(TWO), "AWSCURRENT").await), invalid, "with a wrong one");
    assert_eq!(refused(swap(None, Some(ONE), "AWSCURRENT").await), invalid, "AWSCURRENT cannot be taken away");
    assert_eq!(refused(swap(Some(THREE), Some(ONE), "AWSCURRENT").await), "ResourceNotFoundException 400");
    assert_eq!(stages(s, "app").await, "1=AWSCURRENT 2=AWSPENDING", "refused moves change nothing");
    swap(Some(TWO), Some(ONE), "AWSCURRENT").await.unwrap();
    assert_eq!(stages(s, "app").await, "1=AWSPREVIOUS 2=AWSCURRENT+AWSPENDING", "AWSPREVIOUS follows by itself");
    swap(None, Some(TWO), "AWSPENDING").await.unwrap();
    put(s, THREE, "c", None).await;
    assert_eq!(stages(s, "app").await, "2=AWSPREVIOUS 3=AWSCURRENT", "a plain put moves AWSCURRENT");
    let by_id = s.get_secret_value().secret_id("app").version_id(ONE).send().await.unwrap();
    assert_eq!(by_id.secret_string(), Some("a"), "a version without a label is still readable by id");
    assert!(by_id.version_stages().is_empty());
    let both = s.get_secret_value().secret_id("app").version_id(ONE).version_stage("AWSCURRENT").send().await;
    assert_eq!(refused(both), "InvalidRequestException 400");
    let none = s.get_secret_value().secret_id("app").version_stage("AWSPENDING").send().await;
    assert_eq!(refused(none), "ResourceNotFoundException 400");
    let shown = s.list_secret_version_ids().secret_id("app").send().await.unwrap();
    let all = s.list_secret_version_ids().secret_id("app").include_deprecated(true).send().await.unwrap();
    assert_eq!((shown.versions().len(), all.versions().len()), (2, 3));
    put(s, "44444444-4444-4444-8444-444444444444", "d", Some("custom")).await;
    assert_eq!(stages(s, "app").await, "2=AWSPREVIOUS 3=AWSCURRENT 4=custom");
    assert_eq!(refused(s.rotate_secret().secret_id("app").send().await), "InvalidRequestException 400");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_waits_and_can_be_taken_back() {
    let stage = Stage::set().await;
    let s = &stage.secrets;
    let made = s.create_secret().name("app").secret_string("a").send().await.unwrap();
    for days in [6, 31] {
        let wrong = s.delete_secret().secret_id("app").recovery_window_in_days(days).send().await;
        assert_eq!(refused(wrong), "InvalidParameterException 400");
    }
    let both = s.delete_secret().secret_id("app").recovery_window_in_days(7).force_delete_without_recovery(true);
    assert_eq!(refused(both.send().await), "InvalidParameterException 400");
    let now = pgrun::base::clock::epoch_seconds();
    let told = s.delete_secret().secret_id("app").send().await.unwrap();
    let days = (told.deletion_date().unwrap().as_secs_f64() - now) / 86_400.0;
    assert!((29.9..30.1).contains(&days), "{days}");
    let gone = "InvalidRequestException 400";
    assert_eq!(refused(s.get_secret_value().secret_id("app").send().await), gone);
    assert_eq!(refused(s.put_secret_value().secret_id("app").secret_string("b").send().await), gone);
    assert_eq!(refused(s.create_secret().name("app").secret_string("b").send().await), gone, "the name is taken");
    assert_eq!(refused(s.delete_secret().secret_id("app").send().await), gone);
    assert!(s.describe_secret().secret_id("app").send().await.unwrap().deleted_date().is_some());
    assert!(s.list_secrets().send().await.unwrap().secret_list().is_empty());
    let planned = s.list_secrets().include_planned_deletion(true).send().await.unwrap();
    assert_eq!(planned.secret_list().len(), 1);
    let short_arn = made.arn().unwrap().rsplit_once('-').unwrap().0;
    s.restore_secret().secret_id(short_arn).send().await.unwrap();
    let read = s.get_secret_value().secret_id(made.arn().unwrap()).send().await.unwrap();
    assert_eq!(read.secret_string(), Some("a"));
    s.delete_secret().secret_id("app").force_delete_without_recovery(true).send().await.unwrap();
    assert_eq!(refused(s.describe_secret().secret_id("app").send().await), "ResourceNotFoundException 400");
    s.delete_secret().secret_id("app").force_delete_without_recovery(true).send().await.unwrap();
    s.create_secret().name("app").secret_string("again").send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_filter_and_page() {
    let stage = Stage::set().await;
    let s = &stage.secrets;
    for n in 0..5 {
        let tag = aws_sdk_secretsmanager::types::Tag::builder().key("pgrun:run").value(format!("r{}", n % 2)).build();
        let request = s.create_secret().name(format!("customer/ns{n}/read")).secret_string("x").tags(tag);
        request.description(format!("Tenant {n}")).send().await.unwrap();
    }
    let mut pages = s.list_secrets().max_results(2).into_paginator().send();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.secret_list().len() <= 2);
        names.extend(page.secret_list().iter().map(|entry| entry.name().unwrap().to_owned()));
    }
    assert_eq!(names.len(), 5);
    assert!(names.is_sorted());
    let count = async |key: FilterNameStringType, value: &str| {
        let filter = Filter::builder().key(key).values(value).build();
        s.list_secrets().filters(filter).send().await.unwrap().secret_list().len()
    };
    assert_eq!(count(FilterNameStringType::Name, "customer/ns3").await, 1);
    assert_eq!(count(FilterNameStringType::Name, "!customer/ns3").await, 4);
    assert_eq!(count(FilterNameStringType::TagValue, "r1").await, 2);
    assert_eq!(count(FilterNameStringType::Description, "tenant 4").await, 1, "descriptions do not look at case");
    assert_eq!(count(FilterNameStringType::All, "nothing").await, 0);
    s.untag_resource().secret_id("customer/ns0/read").tag_keys("pgrun:run").send().await.unwrap();
    assert_eq!(count(FilterNameStringType::TagKey, "pgrun").await, 4);
    s.update_secret().secret_id("customer/ns0/read").description("other").send().await.unwrap();
    let told = s.describe_secret().secret_id("customer/ns0/read").send().await.unwrap();
    assert_eq!((told.description(), told.version_ids_to_stages().unwrap().len()), (Some("other"), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_passwords_keep_what_was_asked() {
    let stage = Stage::set().await;
    let ask = || stage.secrets.get_random_password();
    let told = ask().password_length(20).exclude_punctuation(true).exclude_characters("0Oo").send().await.unwrap();
    let password = told.random_password().unwrap();
    assert_eq!(password.len(), 20);
    assert!(password.chars().all(|c| c.is_ascii_alphanumeric() && !"0Oo".contains(c)), "{password}");
    let told = ask().password_length(4).send().await.unwrap();
    let password = told.random_password().unwrap();
    for class in
        [char::is_lowercase, char::is_uppercase, |c: char| c.is_ascii_digit(), |c: char| c.is_ascii_punctuation()]
    {
        assert_eq!(password.chars().filter(|c| class(*c)).count(), 1, "{password}");
    }
    assert_eq!(refused(ask().password_length(3).send().await), "InvalidParameterException 400");
    let nothing = ask().exclude_lowercase(true).exclude_uppercase(true).exclude_numbers(true).exclude_punctuation(true);
    assert_eq!(refused(nothing.send().await), "InvalidParameterException 400");
}
