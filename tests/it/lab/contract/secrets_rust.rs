//! Secrets Manager by the Rust SDK: every operation once with success, and each refusal that `secretsmanager.py` knows.

use aws_sdk_secretsmanager::{
    Client,
    primitives::Blob,
    types::{Filter, FilterNameStringType, RotationRulesType, SortByType, SortOrderType, Tag},
};

use super::secrets::{FUNCTION, ONE, POLICY, TWO, rotated, with_function};
use crate::lab::stage::Stage;

const NINE: &str = "99999999-9999-4999-8999-999999999999";
const MISSING: &str = "ResourceNotFoundException 400";
const STATE: &str = "InvalidRequestException 400";
const INVALID: &str = "InvalidParameterException 400";
const SHAPE: &str = "ValidationException 400";
const EXISTS: &str = "ResourceExistsException 400";
const LIMIT: &str = "LimitExceededException 400";
const MARKER: &str = "InvalidNextTokenException 400";
const MALFORMED: &str = "MalformedPolicyDocumentException 400";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_gets_what_it_expects() {
    let stage = Stage::set().await;
    let s = &stage.secrets;
    missing_and_deleted(s).await;
    values(s).await;
    labels(s).await;
    lists(s).await;
    tags_and_policies(s).await;
    passwords(s).await;
    rotation(&stage).await;
}

fn tag(key: &str) -> Tag {
    Tag::builder().key(key).value("v").build()
}

async fn missing_and_deleted(s: &Client) {
    answer!(
        s.create_secret().name("deleted").secret_string("x"),
        s.delete_secret().secret_id("deleted").recovery_window_in_days(7),
    );
    for (id, wanted) in [("nothing", MISSING), ("deleted", STATE)] {
        refuse!(wanted;
            s.get_secret_value().secret_id(id),
            s.put_secret_value().secret_id(id).secret_string("x"),
            s.update_secret().secret_id(id).description("x"),
            s.update_secret_version_stage().secret_id(id).version_stage("x").move_to_version_id(ONE),
            s.rotate_secret().secret_id(id),
            s.cancel_rotate_secret().secret_id(id),
            s.tag_resource().secret_id(id).tags(tag("k")),
            s.untag_resource().secret_id(id).tag_keys("k"),
            s.put_resource_policy().secret_id(id).resource_policy(POLICY),
            s.get_resource_policy().secret_id(id),
            s.delete_resource_policy().secret_id(id),
            s.validate_resource_policy().secret_id(id).resource_policy(POLICY),
            s.delete_secret().secret_id(id),
        );
    }
    refuse!(MISSING;
        s.describe_secret().secret_id("nothing"),
        s.list_secret_version_ids().secret_id("nothing"),
        s.restore_secret().secret_id("nothing"),
    );
    refuse!(STATE; s.create_secret().name("deleted").secret_string("y"));
    answer!(s.restore_secret().secret_id("deleted"));
    refuse!(INVALID;
        s.delete_secret().secret_id("deleted").recovery_window_in_days(6),
        s.delete_secret().secret_id("deleted").recovery_window_in_days(31),
        s.delete_secret().secret_id("deleted").recovery_window_in_days(7).force_delete_without_recovery(true),
    );
    answer!(s.delete_secret().secret_id("deleted").force_delete_without_recovery(true));
    refuse!(MISSING; s.describe_secret().secret_id("deleted"));
}

async fn values(s: &Client) {
    let create = || s.create_secret().name("app").client_request_token(ONE);
    answer!(create().secret_string("a").tags(tag("k")));
    assert_eq!(create().secret_string("a").send().await.unwrap().version_id(), Some(ONE));
    refuse!(EXISTS; create().secret_string("b"), s.create_secret().name("app"));
    let tags = (0..51).map(|n| tag(&format!("k{n}"))).collect();
    refuse!(LIMIT; s.create_secret().name("many").set_tags(Some(tags)));
    refuse!(SHAPE; s.create_secret().name("a b"), s.create_secret().name("a".repeat(513)));
    let put = || s.put_secret_value().secret_id("app");
    let two = |value: &str| put().client_request_token(TWO).secret_string(value);
    answer!(two("b").version_stages("AWSPENDING"), two("b"));
    refuse!(EXISTS; two("c"));
    refuse!(INVALID;
        put(),
        put().secret_string("x").secret_binary(Blob::new([1])),
        put().secret_string("x").client_request_token("short"),
    );
    let labels = |count: usize| (0..count).map(|n| format!("l{n}")).collect();
    refuse!(SHAPE;
        put().secret_string(""),
        put().secret_string("x".repeat(65_537)),
        put().secret_binary(Blob::new(vec![1; 65_537])),
        put().secret_string("x").set_version_stages(Some(labels(21))),
    );
    refuse!(LIMIT; put().secret_string("x").set_version_stages(Some(labels(20))));
    let update = || s.update_secret().secret_id("app");
    refuse!(EXISTS; update().client_request_token(TWO).secret_string("b"));
    refuse!(SHAPE; update().description("d".repeat(2049)));
    answer!(update().description("e"));
    let told = s.describe_secret().secret_id("app").send().await.unwrap();
    assert_eq!((told.description(), told.tags()), (Some("e"), &[tag("k")][..]));
    answer!(s.create_secret().name("empty"));
    refuse!(MISSING; s.get_secret_value().secret_id("empty"));
}

async fn labels(s: &Client) {
    let moves = || s.update_secret_version_stage().secret_id("app").version_stage("AWSCURRENT");
    refuse!(INVALID;
        moves().move_to_version_id(TWO),
        moves().move_to_version_id(TWO).remove_from_version_id(TWO),
        moves(),
        moves().remove_from_version_id(ONE),
    );
    refuse!(MISSING; moves().move_to_version_id(NINE).remove_from_version_id(ONE));
    answer!(moves().move_to_version_id(TWO).remove_from_version_id(ONE));
    let get = || s.get_secret_value().secret_id("app");
    refuse!(MISSING; get().version_id(NINE), get().version_stage("nowhere"));
    refuse!(STATE; get().version_id(ONE).version_stage("AWSCURRENT"));
    let previous = get().version_stage("AWSPREVIOUS").send().await.unwrap();
    assert_eq!((previous.secret_string(), previous.version_id()), (Some("a"), Some(ONE)));
    let versions = || s.list_secret_version_ids().secret_id("app");
    refuse!(MARKER; versions().next_token("nonsense"));
    assert_eq!(versions().send().await.unwrap().versions().len(), 2);
}

async fn lists(s: &Client) {
    let filter = || Filter::builder().key(FilterNameStringType::Name).values("app").build();
    let batch = || s.batch_get_secret_value();
    let told = batch().secret_id_list("app").secret_id_list("nothing").send().await.unwrap();
    assert_eq!((told.secret_values().len(), told.errors()[0].error_code()), (1, Some("ResourceNotFoundException")));
    let told = batch().filters(filter()).send().await.unwrap();
    assert_eq!(told.secret_values()[0].secret_string(), Some("b"));
    let ids = (0..21).map(|n| format!("s{n}")).collect();
    refuse!(INVALID;
        batch(),
        batch().secret_id_list("a").filters(filter()),
        batch().secret_id_list("a").max_results(1),
    );
    refuse!(SHAPE; batch().set_secret_id_list(Some(ids)), batch().filters(filter()).max_results(21));
    refuse!(MARKER; batch().filters(filter()).next_token("nonsense"), s.list_secrets().next_token("nonsense"));
    let of = |key: &str, value: &str| Filter::builder().key(key.into()).values(value).build();
    let values = (0..11).map(|n| n.to_string()).collect();
    refuse!(SHAPE;
        s.list_secrets().filters(of("colour", "x")),
        s.list_secrets().set_filters(Some(vec![filter(); 11])),
        s.list_secrets().filters(Filter::builder().key("name".into()).set_values(Some(values)).build()),
        s.list_secrets().filters(of("name", "*")),
        s.list_secrets().sort_order(SortOrderType::from("up")),
        s.list_secrets().sort_by(SortByType::from("colour")),
        s.list_secrets().max_results(101),
    );
    assert_eq!(s.list_secrets().filters(filter()).send().await.unwrap().secret_list().len(), 1);
}

async fn tags_and_policies(s: &Client) {
    let put = |tag: Tag| s.tag_resource().secret_id("app").tags(tag);
    answer!(put(tag("l")), s.untag_resource().secret_id("app").tag_keys("l"));
    let many = (0..51).map(|n| tag(&format!("t{n}"))).collect();
    refuse!(INVALID; put(tag("aws:k")), s.tag_resource().secret_id("app").set_tags(Some(many)));
    let long = Tag::builder().key("k").value("v".repeat(257)).build();
    refuse!(SHAPE; put(tag(&"k".repeat(129))), put(long));
    let policy = |text: &str| s.put_resource_policy().secret_id("app").resource_policy(text);
    refuse!("PublicPolicyException 400"; policy(POLICY).block_public_policy(true));
    for text in ["{", "{}", &POLICY.replace("Allow", "Perhaps"), &POLICY.replace("Action", "Acting")] {
        refuse!(MALFORMED; policy(text));
    }
    refuse!(MALFORMED; s.validate_resource_policy().resource_policy("{"));
    refuse!(SHAPE; policy(&"x".repeat(20_481)));
    answer!(policy(POLICY));
    let told = s.get_resource_policy().secret_id("app").send().await.unwrap();
    assert_eq!(told.resource_policy(), Some(POLICY));
    answer!(s.delete_resource_policy().secret_id("app"));
    let told = s.validate_resource_policy().resource_policy(POLICY).send().await.unwrap();
    assert!(!told.policy_validation_passed() && told.validation_errors()[0].check_name().is_some());
}

async fn passwords(s: &Client) {
    let ask = |length: i64| s.get_random_password().password_length(length);
    let told = ask(40).exclude_punctuation(true).send().await.unwrap();
    assert_eq!(told.random_password().map(str::len), Some(40));
    refuse!(SHAPE; ask(0), ask(4097));
    refuse!(INVALID; ask(3));
}

async fn rotation(stage: &Stage) {
    let s = &stage.secrets;
    let rotate = || s.rotate_secret().secret_id("app").client_request_token(NINE);
    refuse!(STATE; rotate(), s.cancel_rotate_secret().secret_id("app"));
    refuse!("AccessDeniedException 400"; rotate().rotation_lambda_arn(FUNCTION));
    with_function(stage).await;
    let rules = RotationRulesType::builder;
    let with = |rules: RotationRulesType| rotate().rotation_lambda_arn(FUNCTION).rotation_rules(rules);
    refuse!(INVALID;
        with(rules().automatically_after_days(0).build()),
        with(rules().automatically_after_days(1001).build()),
        with(rules().schedule_expression("rate(1 hour)").build()),
        with(rules().schedule_expression("cron(1 2 3)").build()),
        with(rules().automatically_after_days(1).schedule_expression("rate(1 day)").build()),
        with(rules().schedule_expression("rate(4 hours)").duration("5h").build()),
    );
    refuse!(SHAPE; with(rules().automatically_after_days(1).duration("xx").build()));
    // AWSPENDING of an earlier check is on the current version: nothing is in the way.
    let told = with(rules().automatically_after_days(30).build()).send().await.unwrap();
    assert_eq!(told.version_id(), Some(NINE));
    let told = rotated(s, "app").await;
    assert_eq!(told.rotation_rules().unwrap().automatically_after_days(), Some(30));
    assert!(told.rotation_enabled() == Some(true) && told.next_rotation_date().is_some());
    let value = s.get_secret_value().secret_id("app").send().await.unwrap();
    assert_eq!((value.secret_string(), value.version_id()), (Some("made"), Some(NINE)));
    assert_eq!(s.cancel_rotate_secret().secret_id("app").send().await.unwrap().version_id(), None);
    let told = s.describe_secret().secret_id("app").send().await.unwrap();
    assert_eq!((told.rotation_enabled(), told.next_rotation_date()), (Some(false), None));
}
