"""Secrets Manager of the lab, asked by boto3: every operation a rotation needs, and each documented error that can be
brought about. Prints one line per check; ends with 1 at the first difference.

usage: secretsmanager.py ENDPOINT. It is not called secrets.py: that would hide Python's own module of this name.
"""

import datetime
import http.server
import json
import sys
import threading
import time
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = sys.argv[1]
ACCOUNT = "000000000000"
CLIENT = boto3.client(
    "secretsmanager",
    endpoint_url=URL,
    region_name="eu-west-1",
    aws_access_key_id="lab",
    aws_secret_access_key="lab",
    # What is too long is to be refused by the service, and a refusal is not to be tried again.
    config=Config(parameter_validation=False, retries={"max_attempts": 1, "mode": "standard"}),
)
checks = 0


def same(what, got, wanted):
    global checks
    checks += 1
    if got != wanted:
        print(f"DIFFERS {what}\n  got    {got!r}\n  wanted {wanted!r}", flush=True)
        sys.exit(1)
    print(f"ok {what}", flush=True)


def refused(what, code, ask, status=400, words=None):
    try:
        answer = ask()
    except ClientError as error:
        told = error.response["Error"]
        same(what, (told["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]), (code, status))
        if words is not None:
            same(f"{what}: words", told["Message"], words)
        return
    same(what, answer, code)


def token(number):
    return f"{number:08d}-0000-4000-8000-000000000000"


def plain(answer):
    return {member: value for member, value in answer.items() if member != "ResponseMetadata"}


def stages(name):
    told = CLIENT.describe_secret(SecretId=name).get("VersionIdsToStages", {})
    return " ".join(sorted(f"{int(version[:8])}={'+'.join(sorted(labels))}" for version, labels in told.items()))


def pages(ask, **members):
    """All pages, where botocore has no paginator."""
    found = [ask(**members)]
    while "NextToken" in found[-1]:
        found.append(ask(NextToken=found[-1]["NextToken"], **members))
    return found


def until(what, seen, wanted):
    end = time.monotonic() + 30
    while seen() != wanted and time.monotonic() < end:
        time.sleep(0.025)
    same(what, seen(), wanted)


MISSING = "ResourceNotFoundException"
INVALID = "InvalidParameterException"
STATE = "InvalidRequestException"
SHAPE = "ValidationException"
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]})
PUBLIC = POLICY.replace(f"arn:aws:iam::{ACCOUNT}:root", "*")

# Every operation on one secret, with the members that it needs besides SecretId.
ON_A_SECRET = [
    (CLIENT.get_secret_value, {}),
    (CLIENT.put_secret_value, {"SecretString": "x"}),
    (CLIENT.update_secret, {"Description": "x"}),
    (CLIENT.update_secret_version_stage, {"VersionStage": "x", "MoveToVersionId": token(1)}),
    (CLIENT.rotate_secret, {}),
    (CLIENT.cancel_rotate_secret, {}),
    (CLIENT.tag_resource, {"Tags": [{"Key": "k", "Value": "v"}]}),
    (CLIENT.untag_resource, {"TagKeys": ["k"]}),
    (CLIENT.put_resource_policy, {"ResourcePolicy": POLICY}),
    (CLIENT.get_resource_policy, {}),
    (CLIENT.delete_resource_policy, {}),
    (CLIENT.validate_resource_policy, {"ResourcePolicy": POLICY}),
    (CLIENT.delete_secret, {}),
    (CLIENT.describe_secret, {}),
    (CLIENT.list_secret_version_ids, {}),
    (CLIENT.restore_secret, {}),
]
# These three may be asked while a secret is scheduled for deletion.
WHEN_DELETED = {"describe_secret", "list_secret_version_ids", "restore_secret"}


def missing_and_deleted():
    for operation, members in ON_A_SECRET:
        refused(f"{operation.__name__} of nothing", MISSING, lambda: operation(SecretId="nothing", **members),
                words="Secrets Manager can't find the specified secret.")
    CLIENT.create_secret(Name="deleted", SecretString="x")
    CLIENT.delete_secret(SecretId="deleted", RecoveryWindowInDays=7)
    for operation, members in ON_A_SECRET:
        if operation.__name__ not in WHEN_DELETED:
            refused(f"{operation.__name__} of a deleted one", STATE, lambda: operation(SecretId="deleted", **members),
                    words="You can't perform this operation on the secret because it was marked for deletion.")
    refused("create over a deleted one", STATE, lambda: CLIENT.create_secret(Name="deleted", SecretString="y"))
    batch = CLIENT.batch_get_secret_value(SecretIdList=["deleted", "nothing"])
    same("a batch tells errors one by one", [(one["SecretId"], one["ErrorCode"]) for one in batch["Errors"]],
         [("deleted", STATE), ("nothing", MISSING)])
    same("a restored secret is read", (CLIENT.restore_secret(SecretId="deleted")["Name"],
                                       CLIENT.get_secret_value(SecretId="deleted")["SecretString"]), ("deleted", "x"))
    for days in (6, 31):
        refused(f"a window of {days} days", INVALID,
                lambda: CLIENT.delete_secret(SecretId="deleted", RecoveryWindowInDays=days))
    refused("a window and force", INVALID, lambda: CLIENT.delete_secret(
        SecretId="deleted", RecoveryWindowInDays=7, ForceDeleteWithoutRecovery=True))
    gone = CLIENT.delete_secret(SecretId="deleted")
    days = (gone["DeletionDate"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 86400
    same("the usual window", round(days), 30)
    CLIENT.delete_secret(SecretId="deleted", ForceDeleteWithoutRecovery=True)
    refused("forced, it is gone", MISSING, lambda: CLIENT.describe_secret(SecretId="deleted"))
    same("force does not ask whether there is one",
         CLIENT.delete_secret(SecretId="deleted", ForceDeleteWithoutRecovery=True)["Name"], "deleted")


def values_and_labels():
    made = CLIENT.create_secret(Name="app", ClientRequestToken=token(1), SecretString="a", Description="d",
                                KmsKeyId="alias/k", Tags=[{"Key": "k", "Value": "v"}])
    same("create tells", sorted(plain(made)), ["ARN", "Name", "VersionId"])
    same("a replay of create", plain(CLIENT.create_secret(
        Name="app", ClientRequestToken=token(1), SecretString="a")), plain(made))
    refused("create with another value", "ResourceExistsException",
            lambda: CLIENT.create_secret(Name="app", ClientRequestToken=token(1), SecretString="b"))
    refused("a known name", "ResourceExistsException", lambda: CLIENT.create_secret(Name="app"))
    told = CLIENT.get_secret_value(SecretId=made["ARN"])
    same("the value", (told["SecretString"], told["VersionId"], told["VersionStages"], told["ARN"]),
         ("a", token(1), ["AWSCURRENT"], made["ARN"]))
    same("a partial ARN", CLIENT.get_secret_value(SecretId=made["ARN"].rsplit("-", 1)[0])["Name"], "app")
    put = CLIENT.put_secret_value(SecretId="app", ClientRequestToken=token(2), SecretString="b",
                                  VersionStages=["AWSPENDING"])
    same("put tells", (put["VersionId"], put["VersionStages"]), (token(2), ["AWSPENDING"]))
    CLIENT.put_secret_value(SecretId="app", ClientRequestToken=token(2), SecretString="b")
    same("a replay of put moves nothing", stages("app"), "1=AWSCURRENT 2=AWSPENDING")
    refused("put of another value", "ResourceExistsException",
            lambda: CLIENT.put_secret_value(SecretId="app", ClientRequestToken=token(2), SecretString="c"),
            words=f"You can't use ClientRequestToken {token(2)} because that value is already in use for a version of "
                  f"secret {made['ARN']}.")
    refused("put of nothing", INVALID, lambda: CLIENT.put_secret_value(SecretId="app"))
    refused("put of both", INVALID,
            lambda: CLIENT.put_secret_value(SecretId="app", SecretString="x", SecretBinary=b"x"))
    refused("a short token", INVALID,
            lambda: CLIENT.put_secret_value(SecretId="app", SecretString="x", ClientRequestToken="short"))
    refused("an empty value", SHAPE, lambda: CLIENT.put_secret_value(SecretId="app", SecretString=""))
    refused("a value that is too long", SHAPE,
            lambda: CLIENT.put_secret_value(SecretId="app", SecretString="x" * 65537))
    refused("21 labels", SHAPE, lambda: CLIENT.put_secret_value(
        SecretId="app", SecretString="x", VersionStages=[f"l{n}" for n in range(21)]))
    refused("more labels than a secret bears", "LimitExceededException", lambda: CLIENT.put_secret_value(
        SecretId="app", SecretString="x", VersionStages=[f"l{n}" for n in range(19)]))

    def move(label, to=None, source=None):
        ids = {"MoveToVersionId": to, "RemoveFromVersionId": source}
        return CLIENT.update_secret_version_stage(
            SecretId="app", VersionStage=label, **{name: value for name, value in ids.items() if value})

    refused("a move without the present version", INVALID, lambda: move("AWSCURRENT", token(2)))
    refused("a move from a wrong version", INVALID, lambda: move("AWSCURRENT", token(2), token(2)))
    refused("a move to nothing", MISSING, lambda: move("AWSCURRENT", token(9), token(1)))
    refused("a move of nothing", INVALID, lambda: move("AWSCURRENT"))
    refused("AWSCURRENT taken away", INVALID, lambda: move("AWSCURRENT", None, token(1)))
    same("refused moves change nothing", stages("app"), "1=AWSCURRENT 2=AWSPENDING")
    move("AWSCURRENT", token(2), token(1))
    same("AWSPREVIOUS follows", stages("app"), "1=AWSPREVIOUS 2=AWSCURRENT+AWSPENDING")
    move("AWSPENDING", None, token(2))
    updated = CLIENT.update_secret(SecretId="app", ClientRequestToken=token(3), SecretString="c", Description="e",
                                   KmsKeyId="")
    same("update tells", (updated["Name"], updated["VersionId"]), ("app", token(3)))
    same("update moves AWSCURRENT", stages("app"), "2=AWSPREVIOUS 3=AWSCURRENT")
    refused("update with a known token", "ResourceExistsException",
            lambda: CLIENT.update_secret(SecretId="app", ClientRequestToken=token(3), SecretString="c"))
    same("by stage", CLIENT.get_secret_value(SecretId="app", VersionStage="AWSPREVIOUS")["SecretString"], "b")
    same("by id, without a label", CLIENT.get_secret_value(SecretId="app", VersionId=token(1))["SecretString"], "a")
    refused("a stage that is nowhere", MISSING,
            lambda: CLIENT.get_secret_value(SecretId="app", VersionStage="AWSPENDING"),
            words="Secrets Manager can't find the specified secret value for staging label: AWSPENDING")
    refused("a version that is not there", MISSING, lambda: CLIENT.get_secret_value(
        SecretId="app", VersionId=token(9)))
    refused("a stage of another version", STATE, lambda: CLIENT.get_secret_value(
        SecretId="app", VersionId=token(1), VersionStage="AWSCURRENT"))
    described = CLIENT.describe_secret(SecretId="app")
    same("describe tells", sorted(plain(described)), [
        "ARN", "CreatedDate", "Description", "LastAccessedDate", "LastChangedDate", "Name", "Tags",
        "VersionIdsToStages"])
    same("described", (described["Description"], described["Tags"]), ("e", [{"Key": "k", "Value": "v"}]))
    shown = CLIENT.list_secret_version_ids(SecretId="app")
    same("versions, newest first", [one["VersionId"] for one in shown["Versions"]], [token(3), token(2)])
    same("a version tells", sorted(shown["Versions"][1]),
         ["CreatedDate", "KmsKeyIds", "LastAccessedDate", "VersionId", "VersionStages"])
    found = pages(CLIENT.list_secret_version_ids, SecretId="app", IncludeDeprecated=True, MaxResults=2)
    same("versions in pages", [len(page["Versions"]) for page in found], [2, 1])
    refused("a wrong marker of versions", "InvalidNextTokenException",
            lambda: CLIENT.list_secret_version_ids(SecretId="app", NextToken="nonsense"))
    binary = bytes(range(256)) * 256
    CLIENT.create_secret(Name="bytes", SecretBinary=binary)
    same("65536 bytes", CLIENT.get_secret_value(SecretId="bytes")["SecretBinary"] == binary, True)
    refused("65537 bytes", SHAPE, lambda: CLIENT.put_secret_value(SecretId="bytes", SecretBinary=binary + b"x"))
    CLIENT.create_secret(Name="empty")
    refused("a secret without a value", MISSING, lambda: CLIENT.get_secret_value(SecretId="empty"))
    CLIENT.put_secret_value(SecretId="empty", ClientRequestToken=token(1), SecretString="x", VersionStages=["own"])
    same("its first version is the current one", stages("empty"), "1=AWSCURRENT+own")
    refused("a name with blanks", SHAPE, lambda: CLIENT.create_secret(Name="a b"))
    refused("a long name", SHAPE, lambda: CLIENT.create_secret(Name="a" * 513))
    refused("a long description", SHAPE, lambda: CLIENT.update_secret(SecretId="app", Description="d" * 2049))


def tags_and_policies():
    CLIENT.tag_resource(SecretId="app", Tags=[{"Key": "k", "Value": "w"}, {"Key": "l", "Value": ""}])
    CLIENT.untag_resource(SecretId="app", TagKeys=["l", "unknown"])
    same("tags", CLIENT.describe_secret(SecretId="app")["Tags"], [{"Key": "k", "Value": "w"}])
    many = [{"Key": f"t{n}", "Value": "v"} for n in range(51)]
    refused("51 tags on a new secret", "LimitExceededException", lambda: CLIENT.create_secret(Name="t", Tags=many))
    refused("51 tags on an old one", INVALID, lambda: CLIENT.tag_resource(SecretId="app", Tags=many))
    refused("a tag of AWS", INVALID,
            lambda: CLIENT.tag_resource(SecretId="app", Tags=[{"Key": "aws:x", "Value": "v"}]))
    refused("a long key", SHAPE, lambda: CLIENT.tag_resource(SecretId="app", Tags=[{"Key": "k" * 129, "Value": ""}]))
    refused("a long value", SHAPE, lambda: CLIENT.tag_resource(SecretId="app", Tags=[{"Key": "k", "Value": "v" * 257}]))
    same("no policy", "ResourcePolicy" in CLIENT.get_resource_policy(SecretId="app"), False)
    same("put a policy", CLIENT.put_resource_policy(SecretId="app", ResourcePolicy=POLICY)["Name"], "app")
    same("the policy", CLIENT.get_resource_policy(SecretId="app")["ResourcePolicy"], POLICY)
    refused("a public policy", "PublicPolicyException", lambda: CLIENT.put_resource_policy(
        SecretId="app", ResourcePolicy=PUBLIC, BlockPublicPolicy=True))
    for text in ("{", "{}", POLICY.replace("Allow", "Perhaps"), POLICY.replace("Action", "Acting")):
        refused(f"a malformed policy {text[:2]}", "MalformedPolicyDocumentException",
                lambda: CLIENT.put_resource_policy(SecretId="app", ResourcePolicy=text))
    refused("a malformed policy is not validated", "MalformedPolicyDocumentException",
            lambda: CLIENT.validate_resource_policy(ResourcePolicy="{"))
    refused("a long policy", SHAPE, lambda: CLIENT.put_resource_policy(SecretId="app", ResourcePolicy="x" * 20481))
    same("a good policy", plain(CLIENT.validate_resource_policy(SecretId="app", ResourcePolicy=POLICY)),
         {"PolicyValidationPassed": True, "ValidationErrors": []})
    same("a public one", CLIENT.validate_resource_policy(ResourcePolicy=PUBLIC)["PolicyValidationPassed"], False)
    CLIENT.delete_resource_policy(SecretId="app")
    same("the policy is gone", "ResourcePolicy" in CLIENT.get_resource_policy(SecretId="app"), False)


def lists():
    for number in range(7):
        CLIENT.create_secret(Name=f"list/{6 - number}", SecretString=f"v{number}", Description=f"Tenant {number}",
                             Tags=[{"Key": "Team", "Value": f"t{number % 2}"}])
    one = [{"Key": "name", "Values": ["list/"]}]

    def names(**members):
        found = CLIENT.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 3}, **members)
        return [secret["Name"][5:] for page in found for secret in page["SecretList"]]

    same("by day of creation", names(Filters=one), list("6543210"))
    same("the latest first", names(Filters=one, SortOrder="desc"), list("0123456"))
    same("by name", names(Filters=one, SortBy="name", SortOrder="asc"), list("0123456"))
    CLIENT.update_secret(SecretId="list/3", Description="Tenant x")
    same("by change", names(Filters=one, SortBy="last-changed-date")[-1], "3")
    CLIENT.get_secret_value(SecretId="list/5")
    same("by access", names(Filters=one, SortBy="last-accessed-date")[-1], "5")
    counts = [("name", "list/1", 1), ("name", "LIST", 0), ("description", "tenant", 7), ("tag-key", "Team", 7),
              ("tag-key", "team", 0), ("tag-value", "t1", 3), ("owning-service", "rds", 0), ("all", "TENANT", 7),
              ("all", "enant", 0), ("all", "list 4", 1)]
    for key, value, wanted in counts:
        found = names(Filters=[{"Key": key, "Values": [value]}] + one)
        same(f"filter {key} {value}", len(found), wanted)
    same("a filter turned round", names(Filters=one + [{"Key": "tag-value", "Values": ["!t1"]}]), list("6420"))
    same("any value", names(Filters=[{"Key": "name", "Values": ["list/1", "list/2"]}]), list("21"))
    entry = CLIENT.list_secrets(Filters=[{"Key": "name", "Values": ["list/1"]}])["SecretList"][0]
    same("an entry tells", sorted(entry), ["ARN", "CreatedDate", "Description", "LastChangedDate", "Name",
                                           "SecretVersionsToStages", "Tags"])
    CLIENT.delete_secret(SecretId="list/6")
    same("deleted ones are not listed", names(Filters=one), list("543210"))
    same("unless they are asked for", len(names(Filters=one, IncludePlannedDeletion=True)), 7)
    refused("an unknown filter", SHAPE, lambda: CLIENT.list_secrets(Filters=[{"Key": "colour", "Values": ["x"]}]))
    refused("eleven filters", SHAPE, lambda: CLIENT.list_secrets(Filters=one * 11))
    refused("eleven values", SHAPE, lambda: CLIENT.list_secrets(Filters=[{"Key": "name", "Values": ["x"] * 11}]))
    refused("a value with a star", SHAPE, lambda: CLIENT.list_secrets(Filters=[{"Key": "name", "Values": ["*"]}]))
    refused("an unknown order", SHAPE, lambda: CLIENT.list_secrets(SortOrder="up"))
    refused("an unknown sort", SHAPE, lambda: CLIENT.list_secrets(SortBy="colour"))
    refused("101 results", SHAPE, lambda: CLIENT.list_secrets(MaxResults=101))
    refused("a wrong marker", "InvalidNextTokenException", lambda: CLIENT.list_secrets(NextToken="nonsense"))

    batch = CLIENT.batch_get_secret_value(SecretIdList=["list/1", "nothing", "list/2"])
    same("a batch of ids", [one["SecretString"] for one in batch["SecretValues"]], ["v5", "v4"])
    same("its errors", [(one["SecretId"], one["ErrorCode"]) for one in batch["Errors"]], [("nothing", MISSING)])
    found = pages(CLIENT.batch_get_secret_value, Filters=one, MaxResults=4)
    values = [value["SecretString"] for page in found for value in page["SecretValues"]]
    same("a batch by filters, in pages", (sorted(values), len(found)), (["v1", "v2", "v3", "v4", "v5", "v6"], 2))
    refused("a batch of nothing", INVALID, lambda: CLIENT.batch_get_secret_value())
    refused("a batch of both", INVALID, lambda: CLIENT.batch_get_secret_value(SecretIdList=["a"], Filters=one))
    refused("a page of ids", INVALID, lambda: CLIENT.batch_get_secret_value(SecretIdList=["a"], MaxResults=1))
    refused("21 ids", SHAPE, lambda: CLIENT.batch_get_secret_value(SecretIdList=["a"] * 21))
    refused("21 results", SHAPE, lambda: CLIENT.batch_get_secret_value(Filters=one, MaxResults=21))
    refused("a wrong marker of a batch", "InvalidNextTokenException",
            lambda: CLIENT.batch_get_secret_value(Filters=one, NextToken="nonsense"))


def passwords():
    same("the usual length", len(CLIENT.get_random_password()["RandomPassword"]), 32)
    told = CLIENT.get_random_password(PasswordLength=50, ExcludePunctuation=True, ExcludeNumbers=True,
                                      ExcludeUppercase=True, ExcludeCharacters="abc", IncludeSpace=True)
    same("only what is left", set(told["RandomPassword"]) <= set("defghijklmnopqrstuvwxyz "), True)
    refused("a length of 0", SHAPE, lambda: CLIENT.get_random_password(PasswordLength=0))
    refused("a length of 4097", SHAPE, lambda: CLIENT.get_random_password(PasswordLength=4097))
    refused("too short for its types", INVALID, lambda: CLIENT.get_random_password(PasswordLength=3))
    same("unless they are not required",
         len(CLIENT.get_random_password(PasswordLength=3, RequireEachIncludedType=False)["RandomPassword"]), 3)


class Function(http.server.BaseHTTPRequestHandler):
    """A rotation function as AWS writes them, asked over HTTP."""
    seen = []
    fails = None

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        step, arn, version = event["Step"], event["SecretId"], event["ClientRequestToken"]
        Function.seen.append(step)
        if step == Function.fails:
            return self.answer(500)
        labels = CLIENT.describe_secret(SecretId=arn)["VersionIdsToStages"]
        good = "AWSPENDING" in labels.get(version, [])
        if step == "createSecret":
            try:
                CLIENT.get_secret_value(SecretId=arn, VersionId=version, VersionStage="AWSPENDING")
            except CLIENT.exceptions.ResourceNotFoundException:
                CLIENT.put_secret_value(SecretId=arn, ClientRequestToken=version, SecretString=f"made {version[:8]}",
                                        VersionStages=["AWSPENDING"])
        elif step == "finishSecret":
            current = next(one for one, held in labels.items() if "AWSCURRENT" in held)
            CLIENT.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=version,
                                               RemoveFromVersionId=current)
        else:
            CLIENT.get_secret_value(SecretId=arn, VersionId=version, VersionStage="AWSPENDING")
        self.answer(200 if good else 500)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    log_message = lambda *_: None


def rotation():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Function)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    body = json.dumps({"name": "rotate", "url": f"http://127.0.0.1:{server.server_port}/"}).encode()
    request = urllib.request.Request(f"{URL}/lab/functions", body, {"Authorization": "x"}, method="POST")
    same("a function is registered", urllib.request.urlopen(request, timeout=10).status, 200)

    def functions():
        ask = urllib.request.Request(f"{URL}/lab/functions", headers={"Authorization": "x"})
        return json.load(urllib.request.urlopen(ask, timeout=10))["functions"]

    arn = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:rotate"
    CLIENT.create_secret(Name="rot", ClientRequestToken=token(1), SecretString="a")

    def rotate(number, **members):
        return CLIENT.rotate_secret(SecretId="rot", ClientRequestToken=token(number), **members)

    refused("no function", STATE, lambda: rotate(2),
            words="No Lambda rotation function ARN is associated with this secret.")
    refused("an unknown function", "AccessDeniedException", lambda: rotate(2, RotationLambdaARN=arn + "x"),
            words="Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants "
                  "access to the principal secretsmanager.amazonaws.com.")
    refused("cancel of nothing", STATE, lambda: CLIENT.cancel_rotate_secret(SecretId="rot"))
    wrong = [{"AutomaticallyAfterDays": 0}, {"AutomaticallyAfterDays": 1001}, {"ScheduleExpression": "rate(1 hour)"},
             {"ScheduleExpression": "cron(1 2 3)"}, {"AutomaticallyAfterDays": 1, "ScheduleExpression": "rate(1 day)"},
             {"ScheduleExpression": "rate(4 hours)", "Duration": "5h"}]
    for rules in wrong:
        refused(f"rules {rules}", INVALID, lambda: rotate(2, RotationLambdaARN=arn, RotationRules=rules))
    refused("a duration of x", SHAPE, lambda: rotate(2, RotationRules={"AutomaticallyAfterDays": 1, "Duration": "xx"}))
    same("refused, nothing is configured", "RotationEnabled" in CLIENT.describe_secret(SecretId="rot"), False)

    same("a test only", rotate(2, RotationLambdaARN=arn, RotateImmediately=False,
                               RotationRules={"AutomaticallyAfterDays": 7})["Name"], "rot")
    until("its version is removed", lambda: (stages("rot"), list(Function.seen)), ("1=AWSCURRENT", ["testSecret"]))
    told = CLIENT.describe_secret(SecretId="rot")
    same("rotation is on", (told["RotationEnabled"], told["RotationLambdaARN"], told["RotationRules"]),
         (True, arn, {"AutomaticallyAfterDays": 7}))
    days = (told["NextRotationDate"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 86400
    same("the next one is due within a week and a day", 7 <= days <= 8, True)
    same("it was not rotated yet", "LastRotatedDate" in told, False)

    Function.seen.clear()
    same("rotate tells", rotate(3)["VersionId"], token(3))
    until("the steps", lambda: list(Function.seen), ["createSecret", "setSecret", "testSecret", "finishSecret"])
    until("the labels", lambda: stages("rot"), "1=AWSPREVIOUS 3=AWSCURRENT+AWSPENDING")
    until("it was rotated", lambda: "LastRotatedDate" in CLIENT.describe_secret(SecretId="rot"), True)
    same("the new value", CLIENT.get_secret_value(SecretId="rot")["SecretString"], "made 00000003")
    same("a replay of rotate", (rotate(3)["VersionId"], len(Function.seen)), (token(3), 4))
    entry = CLIENT.list_secrets(Filters=[{"Key": "name", "Values": ["rot"]}])["SecretList"][0]
    same("the list tells it too", (entry["RotationEnabled"], "LastRotatedDate" in entry, "NextRotationDate" in entry),
         (True, True, True))

    Function.fails = "setSecret"
    rotate(4)
    until("a step fails", lambda: Function.seen[4:], ["createSecret", "setSecret"])
    until("AWSPENDING stays", lambda: stages("rot"), "1=AWSPREVIOUS 3=AWSCURRENT 4=AWSPENDING")
    same("rotation stays on", CLIENT.describe_secret(SecretId="rot")["RotationEnabled"], True)
    until("the failure is told", lambda: "HTTP 500" in functions()[0]["last"], True)
    Function.fails = None
    refused("another rotation", STATE, lambda: rotate(5),
            words="A previous rotation isn't complete. That rotation will be reattempted.")
    until("it is reattempted", lambda: stages("rot"), "3=AWSPREVIOUS 4=AWSCURRENT+AWSPENDING")

    Function.fails = "createSecret"
    rotate(6)
    until("an empty version", lambda: stages("rot"), "3=AWSPREVIOUS 4=AWSCURRENT 6=AWSPENDING")
    refused("it has no value", MISSING, lambda: CLIENT.get_secret_value(SecretId="rot", VersionId=token(6)),
            words=f"Secrets Manager can't find the specified secret value for VersionId: {token(6)}")
    same("cancel tells the version", CLIENT.cancel_rotate_secret(SecretId="rot")["VersionId"], token(6))
    told = CLIENT.describe_secret(SecretId="rot")
    same("rotation is off, its rules stay",
         (told["RotationEnabled"], told["RotationRules"], "NextRotationDate" in told, "LastRotatedDate" in told),
         (False, {"AutomaticallyAfterDays": 7}, False, False))
    CLIENT.update_secret_version_stage(SecretId="rot", VersionStage="AWSPENDING", RemoveFromVersionId=token(6))
    Function.fails = None
    rotate(7, RotationRules={"ScheduleExpression": "cron(0 8 1 * ? *)", "Duration": "2h"})
    until("it can be rotated again", lambda: stages("rot"), "4=AWSPREVIOUS 7=AWSCURRENT+AWSPENDING")
    until("by its new rules", lambda: CLIENT.describe_secret(SecretId="rot")["NextRotationDate"].strftime("%d %H:%M"),
          "01 09:59")


for part in (missing_and_deleted, values_and_labels, tags_and_policies, lists, passwords, rotation):
    part()
print(f"{checks} checks")
