"""What boto3 or the aws CLI sees of the lab's RDS and CloudWatch: a plain list of checks, one printed line each.

Usage: rds.py boto3|PATH-OF-AWS FROM-VERSION TO-VERSION. Stops at the first difference with what was got and wanted.
Codes and HTTP statuses are those of the service model of RDS (2014-10-31).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

CLIENT, FROM, TO = sys.argv[1:4]
FAMILY, NEXT = "postgres" + FROM.split(".")[0], "postgres" + TO.split(".")[0]
PASSWORD = "correct-horse-battery"
COUNT = 0
# Between two looks at a state: each look of the CLI costs a tenth of a second of CPU.
PAUSE = 0.1 if CLIENT == "boto3" else 0.3


class Refused(Exception):
    """The code of a refusal, and its HTTP status where the client shows it."""

    def __init__(self, code, status):
        super().__init__(code)
        self.code, self.status = code, status


class Boto:
    def __init__(self):
        import boto3
        import botocore.exceptions

        self.rds, self.error = boto3.client("rds"), botocore.exceptions.ClientError
        self.services = {"rds": self.rds, "cloudwatch": boto3.client("cloudwatch")}

    def ask(self, operation, asked, service="rds"):
        try:
            return getattr(self.services[service], operation)(**asked)
        except self.error as error:
            told = error.response
            raise Refused(told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]) from None

    def wait(self, what, asked):
        self.rds.get_waiter(what).wait(**asked, WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    def pages(self, operation, key, asked):
        pages = self.rds.get_paginator(operation).paginate(**asked, PaginationConfig={"PageSize": 20})
        return [item for page in pages for item in page[key]]


class Cli:
    """The aws CLI. Where it is a program of this Python, it is loaded once and each command is a fork of that: its start
    takes longer than all that a command does."""

    def __init__(self):
        self.driver, self.boto = None, Boto()
        try:
            from awscli.clidriver import create_clidriver
        except ImportError:
            return
        self.driver = create_clidriver()
        for service in ("rds", "cloudwatch"):
            self.driver.session.get_service_model(service)

    def run(self, *words):
        words = [*words, "--output", "json"]
        if self.driver is None:
            return subprocess.run([CLIENT, *words], capture_output=True, text=True)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if child == 0:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                code = 255
                try:
                    code = self.driver.main(words)
                    sys.stdout.flush()
                    sys.stderr.flush()
                finally:
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def ask(self, operation, asked, *more, service="rds"):
        done = self.run(service, operation.replace("_", "-"), "--cli-input-json", json.dumps(asked), *more)
        if done.returncode == 0:
            return json.loads(done.stdout or "{}")
        if "An error occurred (" not in done.stderr:
            raise SystemExit(f"{operation}: {done.stderr}")
        raise Refused(done.stderr.split("An error occurred (")[1].split(")")[0], None)

    def wait(self, what, asked):
        # It looks every 30 seconds: it is asked when there is nothing to wait for any more.
        self.boto.wait(what, asked)
        name, value = next(iter(asked.items()))
        option = "".join("-" + c.lower() if c.isupper() else c for c in name.replace("DB", "Db")).strip("-")
        done = self.run("rds", "wait", what.replace("_", "-"), "--" + option, value)
        if done.returncode != 0:
            raise SystemExit(f"wait {what}: {done.stderr}")

    def pages(self, operation, key, asked):
        return self.ask(operation, asked, "--page-size", "20")[key]


client = Boto() if CLIENT == "boto3" else Cli()


def same(what, got, wanted):
    global COUNT
    if got != wanted:
        print(f"DIFFERS {what}\n  got    {got!r}\n  wanted {wanted!r}")
        sys.exit(1)
    COUNT += 1
    print(f"ok {what}", flush=True)


def ask(operation, **asked):
    """A call that is answered: a check too."""
    try:
        told = client.ask(operation, asked)
    except Refused as refused:
        same(f"{operation} {asked}", refused.code, "an answer")
    same(f"{operation} is answered", True, True)
    return told


REFUSED = set()


def refused(code, status, operation, **asked):
    # A call of the CLI takes as long as ten of boto3, and what it makes of a refusal is the same for all of them.
    if CLIENT != "boto3" and operation in REFUSED:
        return
    REFUSED.add(operation)
    try:
        got = client.ask(operation, asked)
    except Refused as error:
        got = (error.code, error.status or status)
    same(f"{operation} is refused with {code} {status}", got, (code, status))


def settle(operation, key, status, **asked):
    """Waits for a status; the last one is what is compared."""
    if CLIENT != "boto3" and status == "modifying":
        # It comes too late to see it, and too early to see its end.
        return time.sleep(1)
    seen, end = None, time.monotonic() + 120
    while time.monotonic() < end:
        found = client.ask(operation, asked)[key][0]
        seen = found.get("DBInstanceStatus") or found["Status"]
        if seen == status:
            break
        time.sleep(PAUSE)
    same(f"{next(iter(asked.values()))} becomes {status}", seen, status)


def briefly(code, status, operation, **asked):
    """A refusal that holds for a moment only: the CLI would come too late."""
    if CLIENT == "boto3":
        refused(code, status, operation, **asked)


def vanishes(operation, code, **asked):
    """Waits until what a deletion names is not there any more."""
    seen, end = None, time.monotonic() + 120
    while seen is None and time.monotonic() < end:
        try:
            client.ask(operation, asked)
            time.sleep(PAUSE)
        except Refused as refused:
            seen = refused.code
    same(f"{next(iter(asked.values()))} vanishes", seen, code)


def parameter(name, value=None, method="pending-reboot"):
    one = {"ParameterName": name, "ApplyMethod": method}
    return [one | ({"ParameterValue": value} if value else {})]


def nothing_there():
    """Every operation that names something, with a name that nothing has."""
    instance, snapshot = {"DBInstanceIdentifier": "nobody"}, {"DBSnapshotIdentifier": "nobody"}
    gone = ("DBInstanceNotFound", 404)
    refused(*gone, "describe_db_instances", **instance)
    refused(*gone, "modify_db_instance", **instance)
    refused(*gone, "reboot_db_instance", **instance)
    refused(*gone, "stop_db_instance", **instance)
    refused(*gone, "start_db_instance", **instance)
    refused(*gone, "delete_db_instance", **instance, SkipFinalSnapshot=True)
    refused(*gone, "create_db_snapshot", **instance, DBSnapshotIdentifier="s")
    refused(*gone, "describe_db_log_files", **instance)
    refused(*gone, "download_db_log_file_portion", **instance, LogFileName="error/x")
    clone = {"TargetDBInstanceIdentifier": "t", "UseLatestRestorableTime": True}
    refused(*gone, "restore_db_instance_to_point_in_time", SourceDBInstanceIdentifier="nobody", **clone)
    gone = ("DBSnapshotNotFound", 404)
    refused(*gone, "describe_db_snapshots", **snapshot)
    refused(*gone, "modify_db_snapshot", **snapshot, EngineVersion=TO)
    refused(*gone, "delete_db_snapshot", **snapshot)
    refused(*gone, "copy_db_snapshot", SourceDBSnapshotIdentifier="nobody", TargetDBSnapshotIdentifier="t")
    refused(*gone, "restore_db_instance_from_db_snapshot", DBInstanceIdentifier="t", **snapshot)
    deployment, gone = {"BlueGreenDeploymentIdentifier": "bgd-nobody"}, ("BlueGreenDeploymentNotFoundFault", 404)
    refused(*gone, "describe_blue_green_deployments", **deployment)
    refused(*gone, "switchover_blue_green_deployment", **deployment, SwitchoverTimeout=30)
    refused(*gone, "delete_blue_green_deployment", **deployment)
    source = {"BlueGreenDeploymentName": "d", "Source": "arn:aws:rds:eu-west-1:000000000000:db:nobody"}
    refused("DBInstanceNotFound", 404, "create_blue_green_deployment", **source)
    by = [{"Name": "blue-green-deployment-name", "Values": ["d"]}]
    same("there is no deployment", client.pages("describe_blue_green_deployments", "BlueGreenDeployments",
                                                {"Filters": by}), [])
    for operation in ["describe_db_proxies", "delete_db_proxy", "describe_db_proxy_targets"]:
        refused("DBProxyNotFoundFault", 404, operation, DBProxyName="nobody")
    cluster, snapshot = {"DBClusterIdentifier": "nobody"}, {"DBClusterSnapshotIdentifier": "nobody"}
    gone = ("DBClusterNotFoundFault", 404)
    refused(*gone, "describe_db_clusters", **cluster)
    refused(*gone, "modify_db_cluster", **cluster)
    refused(*gone, "stop_db_cluster", **cluster)
    refused(*gone, "start_db_cluster", **cluster)
    refused(*gone, "failover_db_cluster", **cluster)
    refused(*gone, "delete_db_cluster", **cluster, SkipFinalSnapshot=True)
    refused(*gone, "create_db_cluster_snapshot", **cluster, DBClusterSnapshotIdentifier="s")
    clone = {"DBClusterIdentifier": "t", "SourceDBClusterIdentifier": "nobody", "UseLatestRestorableTime": True}
    refused(*gone, "restore_db_cluster_to_point_in_time", **clone)
    member = {"DBInstanceIdentifier": "m", "DBInstanceClass": "db.r6g.large", "Engine": "aurora-postgresql"}
    refused(*gone, "create_db_instance", **member, DBClusterIdentifier="nobody")
    gone = ("DBClusterSnapshotNotFoundFault", 404)
    refused(*gone, "describe_db_cluster_snapshots", **snapshot)
    refused(*gone, "delete_db_cluster_snapshot", **snapshot)
    copy = {"SourceDBClusterSnapshotIdentifier": "nobody", "TargetDBClusterSnapshotIdentifier": "t"}
    refused(*gone, "copy_db_cluster_snapshot", **copy)
    restore = {"DBClusterIdentifier": "t", "SnapshotIdentifier": "nobody", "Engine": "aurora-postgresql"}
    refused(*gone, "restore_db_cluster_from_snapshot", **restore)
    gone = ("DBParameterGroupNotFound", 404)
    for kind in ["db", "db_cluster"]:
        name = {"DBParameterGroupName" if kind == "db" else "DBClusterParameterGroupName": "nobody"}
        refused(*gone, f"describe_{kind}_parameter_groups", **name)
        refused(*gone, f"modify_{kind}_parameter_group", **name, Parameters=parameter("work_mem", "64"))
        refused(*gone, f"reset_{kind}_parameter_group", **name, ResetAllParameters=True)
        refused(*gone, f"delete_{kind}_parameter_group", **name)
        refused(*gone, f"describe_{kind}_parameters", **name)
    new = {"DBInstanceIdentifier": "x", "DBInstanceClass": "db.m7g.large", "Engine": "postgres"}
    login = {"MasterUsername": "master", "MasterUserPassword": PASSWORD}
    refused(*gone, "create_db_instance", **new, **login, DBParameterGroupName="nobody")
    new = {"DBClusterIdentifier": "x", "Engine": "aurora-postgresql", **login}
    refused("DBClusterParameterGroupNotFound", 404, "create_db_cluster", **new, DBClusterParameterGroupName="nobody")
    refused("DBSubnetGroupNotFoundFault", 404, "describe_db_subnet_groups", DBSubnetGroupName="nobody")
    arn = "arn:aws:rds:eu-west-1:000000000000:cluster:nobody"
    refused("DBClusterNotFoundFault", 404, "list_tags_for_resource", ResourceName=arn)
    refused("DBClusterNotFoundFault", 404, "add_tags_to_resource", ResourceName=arn, Tags=[{"Key": "k"}])
    refused("DBClusterNotFoundFault", 404, "remove_tags_from_resource", ResourceName=arn, TagKeys=["k"])
    # A snapshot that is not there is a completed one, as with AWS: `DBSnapshotNotFound` counts as success there.
    client.wait("db_snapshot_completed", {"DBSnapshotIdentifier": "mistyped"})
    same("waiting for a mistyped snapshot to be completed succeeds", True, True)
    client.wait("db_instance_deleted", {"DBInstanceIdentifier": "mistyped"})
    client.wait("db_cluster_deleted", {"DBClusterIdentifier": "mistyped"})
    same("waiting for the deletion of what never was succeeds", True, True)


def engines_and_groups():
    told = ask("describe_db_engine_versions", Engine="aurora-postgresql", EngineVersion=FROM)["DBEngineVersions"][0]
    same("the family of Aurora", told["DBParameterGroupFamily"], "aurora-" + FAMILY.replace("postgres", "postgresql"))
    same("a major upgrade is offered", any(to["IsMajorVersionUpgrade"] for to in told["ValidUpgradeTarget"]), True)
    same("subnets", ask("describe_db_subnet_groups")["DBSubnetGroups"][0]["DBSubnetGroupName"], "default")
    ask("describe_events", Duration=60)
    refused("InvalidParameterCombination", 400, "describe_events", SourceIdentifier="x")
    aurora = "aurora-" + FAMILY.replace("postgres", "postgresql")
    for kind, family, noun in [("db", FAMILY, "DBParameterGroup"), ("db_cluster", aurora, "DBClusterParameterGroup")]:
        name = {noun + "Name": "logical"}
        new = {"DBParameterGroupFamily": family, "Description": "a <b> & \"c\" é"}
        made = ask(f"create_{kind}_parameter_group", **name, **new)[noun]
        same("its description", made["Description"], new["Description"])
        refused("DBParameterGroupAlreadyExists", 400, f"create_{kind}_parameter_group", **name, **new)
        wrong = {noun + "Name": "wrong", "DBParameterGroupFamily": "oracle-ee-19", "Description": "x"}
        refused("InvalidParameterValue", 400, f"create_{kind}_parameter_group", **wrong)
        modify = f"modify_{kind}_parameter_group"
        told = ask(modify, **name, Parameters=parameter("rds.logical_replication", "1"))
        same("the answer names the group", told[noun + "Name"], "logical")
        ask(modify, **name, Parameters=parameter("work_mem", "8192", "immediate"))
        refused("InvalidParameterValue", 400, modify, **name, Parameters=parameter("no_such", "1"))
        static = parameter("max_connections", "50", "immediate")
        refused("InvalidParameterCombination", 400, modify, **name, Parameters=static)
        default = {noun + "Name": "default." + family}
        refused("InvalidParameterValue", 400, modify, **default, Parameters=parameter("work_mem", "64"))
        ask(f"reset_{kind}_parameter_group", **name, Parameters=parameter("work_mem"))
        mine = client.pages(f"describe_{kind}_parameters", "Parameters", {**name, "Source": "user"})
        same("what is set", [(one["ParameterName"], one["ParameterValue"]) for one in mine],
             [("rds.logical_replication", "1")])
        every = client.pages(f"describe_{kind}_parameters", "Parameters", default)
        off = [one["ParameterValue"] for one in every if one["ParameterName"] == "rds.logical_replication"]
        same("logical replication is off by default", off, ["0"])
        groups = client.pages(f"describe_{kind}_parameter_groups", noun + "s", {})
        same("the group is listed", "logical" in [group[noun + "Name"] for group in groups], True)


GIVEN = {
    "AllocatedStorage": 100, "StorageType": "io2", "Iops": 3000, "MaxAllocatedStorage": 500, "StorageEncrypted": True,
    "MonitoringInterval": 60, "PreferredBackupWindow": "01:00-01:30", "CACertificateIdentifier": "rds-ca-ecc384-g1",
    "PreferredMaintenanceWindow": "mon:02:00-mon:02:30", "AvailabilityZone": "eu-west-1c", "MultiAZ": False,
    "CopyTagsToSnapshot": True, "BackupRetentionPeriod": 3,
}


def metrics():
    """CloudWatch of the instance `one`: by CBOR, which the clients take first, and by the two other protocols."""
    now = int(time.time())
    one = [{"Name": "DBInstanceIdentifier", "Value": "one"}]
    asked = {"Namespace": "AWS/RDS", "MetricName": "FreeStorageSpace", "Dimensions": one, "Period": 60,
             "StartTime": now - 300, "EndTime": now, "Statistics": ["Average"]}
    points = metric("get_metric_statistics", asked)["Datapoints"]
    same("free storage is less than what was allocated", [0 < p["Average"] < 100 * 2**30 for p in points], [True])
    same("its unit", points[0]["Unit"], "Bytes")
    listed = metric("list_metrics", {"Namespace": "AWS/RDS", "Dimensions": one})["Metrics"]
    names = sorted(found["MetricName"] for found in listed)
    same("metrics", names, ["CPUUtilization", "DatabaseConnections", "FreeStorageSpace", "FreeableMemory"])
    queries = [{"Id": f"m{n}", "MetricStat": {"Metric": {"Namespace": "AWS/RDS", "MetricName": name, "Dimensions": one},
                                              "Period": 60, "Stat": "Average"}} for n, name in enumerate(names)]
    span = {"StartTime": now - 300, "EndTime": now}
    results = metric("get_metric_data", {"MetricDataQueries": queries, **span})["MetricDataResults"]
    same("each has one value", [len(found["Values"]) for found in results], [1, 1, 1, 1])
    past = {"StartTime": now - 9000, "EndTime": now - 8000}
    results = metric("get_metric_data", {"MetricDataQueries": queries[:1], **past})["MetricDataResults"]
    same("nothing is kept of the past", results[0]["Values"], [])
    try:
        got = metric("get_metric_statistics", asked | {"StartTime": now, "EndTime": now - 60})
    except Refused as refused:
        got = refused.code
    same("a span that ends before it begins", got, "InvalidParameterValue")
    target = {"X-Amz-Target": "GraniteServiceVersion20100801.GetMetricStatistics"}
    told = json.loads(post(json.dumps(asked), {"Content-Type": "application/x-amz-json-1.0", **target}))
    same("by JSON", [point["Unit"] for point in told["Datapoints"]], ["Bytes"])
    form = {"Action": "GetMetricStatistics", "Version": "2010-08-01", "Statistics.member.1": "Average",
            "Dimensions.member.1.Name": "DBInstanceIdentifier", "Dimensions.member.1.Value": "one"}
    form |= {key: value for key, value in asked.items() if isinstance(value, (str, int))}
    told = post(urllib.parse.urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
    same("by Query", "<Unit>Bytes</Unit>" in told, True)


def post(body, headers):
    headers["Authorization"] = "lab"
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], body.encode(), headers)
    return urllib.request.urlopen(request).read().decode()


def metric(operation, asked):
    return client.ask(operation, asked, service="cloudwatch")


def instances():
    one, login = {"DBInstanceIdentifier": "One"}, {"MasterUsername": "master", "MasterUserPassword": PASSWORD}
    new = {"DBInstanceClass": "db.m7g.large", "Engine": "postgres", "EngineVersion": FROM, **login}
    own = {"DBParameterGroupName": "logical", "EnablePerformanceInsights": True, "Tags": [{"Key": "k", "Value": "é"}]}
    logs = {"EnableCloudwatchLogsExports": ["postgresql"]}
    told = ask("create_db_instance", **one, **new, **GIVEN, **own, **logs)["DBInstance"]
    same("identifiers are lower-cased", told["DBInstanceIdentifier"], "one")
    same("what was given is shown", {name: told[name] for name in GIVEN}, GIVEN)
    same("insights", told["PerformanceInsightsEnabled"], True)
    same("exported logs", told["EnabledCloudwatchLogsExports"], ["postgresql"])
    same("an encrypted volume has a key", told["KmsKeyId"].startswith("arn:aws:kms:eu-west-1:"), True)
    refused("DBInstanceAlreadyExists", 400, "create_db_instance", **one, **new)
    busy = ("InvalidDBInstanceState", 400)
    briefly(*busy, "create_db_snapshot", **one, DBSnapshotIdentifier="early")
    briefly(*busy, "modify_db_instance", **one, MultiAZ=True)
    briefly(*busy, "reboot_db_instance", **one)
    briefly(*busy, "start_db_instance", **one)
    briefly(*busy, "stop_db_instance", **one)
    briefly("DBInstanceNotReady", 400, "describe_db_log_files", **one)
    clone = {"SourceDBInstanceIdentifier": "one", "TargetDBInstanceIdentifier": "two"}
    briefly(*busy, "restore_db_instance_to_point_in_time", **clone, UseLatestRestorableTime=True)
    refused("DBParameterGroupAlreadyExists", 400, "create_db_parameter_group", DBParameterGroupName="logical",
            DBParameterGroupFamily=FAMILY, Description="x")
    settle("describe_db_instances", "DBInstances", "available", **one)
    client.wait("db_instance_available", one)
    same("the waiter agrees", True, True)
    found = ask("describe_db_instances", Filters=[{"Name": "engine", "Values": ["postgres"]}])["DBInstances"][0]
    same("what was given is kept", {name: found[name] for name in GIVEN}, GIVEN)
    same("it can be restored", "LatestRestorableTime" in found, True)
    metrics()
    refused("InvalidDBParameterGroupState", 400, "delete_db_parameter_group", DBParameterGroupName="logical")

    proxies()
    told = ask("modify_db_instance", **one, Iops=4000, MonitoringInterval=30)["DBInstance"]
    same("Iops wait for the window", told["PendingModifiedValues"].get("Iops"), 4000)
    refused("DBParameterGroupNotFound", 404, "modify_db_instance", **one, DBParameterGroupName="nobody")
    refused("InvalidParameterCombination", 400, "modify_db_instance", **one, EngineVersion="99.9")
    settle("describe_db_instances", "DBInstances", "modifying", **one)
    settle("describe_db_instances", "DBInstances", "available", **one)
    found = ask("describe_db_instances", **one)["DBInstances"][0]
    same("the interval did not wait", (found["MonitoringInterval"], found["Iops"]), (30, 3000))

    files = ask("describe_db_log_files", **one)["DescribeDBLogFiles"]
    name = [file["LogFileName"] for file in files if "postgresql.log" in file["LogFileName"]][0]
    text = ask("download_db_log_file_portion", **one, LogFileName=name, Marker="0", NumberOfLines=50)
    same("the log is the server's", "starting PostgreSQL" in text["LogFileData"], True)
    refused("DBLogFileNotFoundFault", 404, "download_db_log_file_portion", **one, LogFileName="error/none")

    snapshot = {"DBSnapshotIdentifier": "s"}
    made = ask("create_db_snapshot", **one, **snapshot)["DBSnapshot"]
    same("a snapshot begins", (made["Status"], made["Encrypted"], made["StorageType"]), ("creating", True, "io2"))
    briefly("InvalidDBSnapshotState", 400, "delete_db_snapshot", **snapshot)
    settle("describe_db_snapshots", "DBSnapshots", "available", **snapshot)
    for wait in ["db_snapshot_available", "db_snapshot_completed"]:
        client.wait(wait, snapshot)
        same(f"the waiter {wait} agrees", True, True)
    settle("describe_db_instances", "DBInstances", "available", **one)
    refused("DBSnapshotAlreadyExists", 400, "create_db_snapshot", **one, **snapshot)
    refused("InvalidParameterCombination", 400, "modify_db_snapshot", **snapshot, EngineVersion="99.9")
    ask("modify_db_snapshot", **snapshot)
    refused("DBInstanceAlreadyExists", 400, "restore_db_instance_from_db_snapshot", **one, **snapshot)
    refused("DBParameterGroupNotFound", 404, "restore_db_instance_from_db_snapshot", **snapshot,
            DBInstanceIdentifier="t", DBParameterGroupName="nobody")
    for number in range(21):
        client.ask("copy_db_snapshot", {"SourceDBSnapshotIdentifier": "s", "TargetDBSnapshotIdentifier": f"c{number}"})
        if CLIENT != "boto3":
            break
    refused("DBSnapshotAlreadyExists", 400, "copy_db_snapshot", SourceDBSnapshotIdentifier="s",
            TargetDBSnapshotIdentifier="c0")
    names = [one["DBSnapshotIdentifier"] for one in client.pages("describe_db_snapshots", "DBSnapshots", {})]
    same("every page is read once", len(names) == len(set(names)) == number + 2, True)
    settle("describe_db_snapshots", "DBSnapshots", "available", DBSnapshotIdentifier="c0")
    same("a deleted one", ask("delete_db_snapshot", DBSnapshotIdentifier="c0")["DBSnapshot"]["Status"], "deleted")
    client.wait("db_snapshot_deleted", {"DBSnapshotIdentifier": "c0"})
    same("the waiter agrees", True, True)

    refused("InvalidParameterValue", 400, "restore_db_instance_to_point_in_time", **clone,
            RestoreTime="2020-01-01T00:00:00Z")
    refused("InvalidParameterCombination", 400, "restore_db_instance_to_point_in_time", **clone)
    taken = {"SourceDBInstanceIdentifier": "one", "TargetDBInstanceIdentifier": "one"}
    refused("DBInstanceAlreadyExists", 400, "restore_db_instance_to_point_in_time", **taken,
            UseLatestRestorableTime=True)
    told = ask("restore_db_instance_to_point_in_time", **clone, UseLatestRestorableTime=True)["DBInstance"]
    same("a clone is stored as its original", (told["StorageType"], told["Iops"], told["KmsKeyId"]),
         ("io2", 3000, found["KmsKeyId"]))
    restored = {"DBInstanceIdentifier": "restored"}
    ask("restore_db_instance_from_db_snapshot", **snapshot, **restored)
    settle("describe_db_instances", "DBInstances", "available", DBInstanceIdentifier="two")
    ask("modify_db_instance", DBInstanceIdentifier="two", BackupRetentionPeriod=0)
    refused("DBInstanceAlreadyExists", 400, "modify_db_instance", DBInstanceIdentifier="two",
            NewDBInstanceIdentifier="one")
    settle("describe_db_instances", "DBInstances", "modifying", DBInstanceIdentifier="two")
    settle("describe_db_instances", "DBInstances", "available", DBInstanceIdentifier="two")
    refused("PointInTimeRestoreNotEnabled", 400, "restore_db_instance_to_point_in_time",
            SourceDBInstanceIdentifier="two", TargetDBInstanceIdentifier="t", UseLatestRestorableTime=True)
    ask("delete_db_instance", DBInstanceIdentifier="two", SkipFinalSnapshot=True)
    briefly(*busy, "delete_db_instance", DBInstanceIdentifier="two", SkipFinalSnapshot=True)

    settle("describe_db_instances", "DBInstances", "available", **restored)
    ask("delete_db_instance", **restored, SkipFinalSnapshot=True)
    deployment(found["DBInstanceArn"])
    ask("reboot_db_instance", **one)
    settle("describe_db_instances", "DBInstances", "available", **one)
    refused("DBSnapshotAlreadyExists", 400, "stop_db_instance", **one, **snapshot)
    ask("stop_db_instance", **one)
    settle("describe_db_instances", "DBInstances", "stopped", **one)
    ask("start_db_instance", **one)
    settle("describe_db_instances", "DBInstances", "available", **one)
    arn = found["DBInstanceArn"]
    ask("add_tags_to_resource", ResourceName=arn, Tags=[{"Key": "a", "Value": "<&>"}])
    ask("remove_tags_from_resource", ResourceName=arn, TagKeys=["k"])
    same("tags", ask("list_tags_for_resource", ResourceName=arn)["TagList"], [{"Key": "a", "Value": "<&>"}])
    combination = ("InvalidParameterCombination", 400)
    refused(*combination, "delete_db_instance", **one)
    refused("DBSnapshotAlreadyExists", 400, "delete_db_instance", **one, FinalDBSnapshotIdentifier="s")
    ask("delete_db_instance", DBInstanceIdentifier="one-old1", SkipFinalSnapshot=True)
    ask("delete_db_instance", **one, SkipFinalSnapshot=True)
    client.wait("db_instance_deleted", one)
    same("the waiter agrees", True, True)
    ask("delete_db_parameter_group", DBParameterGroupName="logical")


def proxies():
    secret = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:front-AbCdEf"
    front, target = {"DBProxyName": "front"}, {"DBInstanceIdentifiers": ["one"]}
    new = {**front, "EngineFamily": "POSTGRESQL", "Auth": [{"AuthScheme": "SECRETS", "SecretArn": secret}],
           "RoleArn": "arn:aws:iam::000000000000:role/proxy", "VpcSubnetIds": ["subnet-1"]}
    made = ask("create_db_proxy", **new, RequireTLS=True)["DBProxy"]
    same("a proxy begins", (made["Status"], made["RequireTLS"], made["VpcSubnetIds"]), ("creating", True, ["subnet-1"]))
    refused("DBProxyAlreadyExistsFault", 400, "create_db_proxy", **new)
    refused("InvalidParameterValue", 400, "create_db_proxy", **(new | {"EngineFamily": "MYSQL"}))
    listed = client.pages("describe_db_proxies", "DBProxies", {})
    same("it is listed", [one["DBProxyName"] for one in listed], ["front"])
    refused("DBProxyNotFoundFault", 404, "register_db_proxy_targets", DBProxyName="nobody", **target)
    refused("DBInstanceNotFound", 404, "register_db_proxy_targets", **front, DBInstanceIdentifiers=["nobody"])
    other = ("DBProxyTargetGroupNotFoundFault", 404)
    refused(*other, "register_db_proxy_targets", **front, **target, TargetGroupName="other")
    refused(*other, "describe_db_proxy_targets", **front, TargetGroupName="other")
    told = ask("register_db_proxy_targets", **front, **target)["DBProxyTargets"][0]
    same("its target", (told["RdsResourceId"], told["TargetHealth"]["State"]), ("one", "AVAILABLE"))
    refused("DBProxyTargetAlreadyRegisteredFault", 400, "register_db_proxy_targets", **front, **target)
    same("one target", len(ask("describe_db_proxy_targets", **front)["Targets"]), 1)
    same("a deleted one", ask("delete_db_proxy", **front)["DBProxy"]["Status"], "deleting")


def deployment(source):
    """A green instance is made beside `one` and takes its place."""
    new, create = {"BlueGreenDeploymentName": "d", "Source": source}, "create_blue_green_deployment"
    cluster = "arn:aws:rds:eu-west-1:000000000000:cluster:one"
    refused("SourceClusterNotSupportedFault", 400, create, **(new | {"Source": cluster}))
    refused("InvalidParameterCombination", 400, create, **new, TargetEngineVersion="99.9")
    refused("DBParameterGroupNotFound", 404, create, **new, TargetDBParameterGroupName="nobody")
    made = ask(create, **new)["BlueGreenDeployment"]
    same("a deployment begins", (made["Status"], made["Source"]), ("PROVISIONING", source))
    it = {"BlueGreenDeploymentIdentifier": made["BlueGreenDeploymentIdentifier"]}
    switch = "switchover_blue_green_deployment"
    delete, describe = "delete_blue_green_deployment", ("describe_blue_green_deployments", "BlueGreenDeployments")
    state = ("InvalidBlueGreenDeploymentStateFault", 400)
    briefly(*state, switch, **it)
    briefly(*state, delete, **it)
    refused("SourceDatabaseNotSupportedFault", 400, create, **new)
    refused("InvalidParameterValue", 400, switch, **it, SwitchoverTimeout=3601)
    settle(*describe, "AVAILABLE", **it)
    ask(switch, **it, SwitchoverTimeout=30)
    briefly(*state, switch, **it)
    settle(*describe, "SWITCHOVER_COMPLETED", **it)
    refused("BlueGreenDeploymentAlreadyExistsFault", 400, create, **new)
    refused(*state, delete, **it, DeleteTarget=True)
    ask(delete, **it)
    vanishes(describe[0], "BlueGreenDeploymentNotFoundFault", **it)


def clusters():
    c, s = {"DBClusterIdentifier": "c"}, {"DBClusterSnapshotIdentifier": "s"}
    engine = {"Engine": "aurora-postgresql", "EngineVersion": FROM}
    new = {**engine, "MasterUsername": "master", "MasterUserPassword": PASSWORD, "DatabaseName": "app"}
    refused("InvalidParameterCombination", 400, "create_db_cluster", **c, **(new | {"EngineVersion": "99.9"}))
    told = ask("create_db_cluster", **c, **new, StorageEncrypted=True, DBClusterParameterGroupName="logical")
    shown = told["DBCluster"]
    same("a cluster begins", (shown["Status"], shown["Engine"], shown["DatabaseName"], shown["DBClusterMembers"]),
         ("creating", "aurora-postgresql", "app", []))
    refused("DBClusterAlreadyExistsFault", 400, "create_db_cluster", **c, **new)
    busy = ("InvalidDBClusterStateFault", 400)
    briefly(*busy, "create_db_cluster_snapshot", **c, **s)
    briefly(*busy, "modify_db_cluster", **c, MasterUserPassword=PASSWORD)
    briefly(*busy, "stop_db_cluster", **c)
    briefly(*busy, "start_db_cluster", **c)
    briefly(*busy, "failover_db_cluster", **c)
    clone = {"DBClusterIdentifier": "d", "SourceDBClusterIdentifier": "c", "RestoreType": "copy-on-write"}
    briefly(*busy, "restore_db_cluster_to_point_in_time", **clone, UseLatestRestorableTime=True)
    settle("describe_db_clusters", "DBClusters", "available", **c)
    client.wait("db_cluster_available", c)
    same("the waiter agrees", True, True)
    refused("InvalidDBParameterGroupState", 400, "delete_db_cluster_parameter_group",
            DBClusterParameterGroupName="logical")
    m = {"DBInstanceIdentifier": "m"}
    member = {**m, "DBInstanceClass": "db.r6g.large", **c}
    refused("InvalidParameterCombination", 400, "create_db_instance", **member, Engine="postgres")
    refused("InvalidParameterCombination", 400, "create_db_instance", **member, Engine="aurora-postgresql",
            MasterUsername="master")
    told = ask("create_db_instance", **member, Engine="aurora-postgresql", PromotionTier=3)["DBInstance"]
    same("a member shows its cluster", (told["DBClusterIdentifier"], told["PromotionTier"], told["StorageEncrypted"]),
         ("c", 3, True))
    settle("describe_db_instances", "DBInstances", "available", **m)
    found = ask("describe_db_clusters", Filters=[{"Name": "db-cluster-id", "Values": ["c"]}])["DBClusters"][0]
    same("the member is the writer", [(one["DBInstanceIdentifier"], one["IsClusterWriter"])
                                      for one in found["DBClusterMembers"]], [("m", True)])
    same("both endpoints are there", (found["Endpoint"], found["ReaderEndpoint"]), ("127.0.0.1", "127.0.0.1"))
    of_it = [{"Name": "db-cluster-id", "Values": ["c"]}]
    same("instances are found by cluster", len(client.pages("describe_db_instances", "DBInstances",
                                                            {"Filters": of_it})), 1)
    refused("InvalidParameterValue", 400, "describe_db_clusters", Filters=[{"Name": "no-such", "Values": ["x"]}])
    refused(*busy, "failover_db_cluster", **c)
    refused("InvalidDBInstanceState", 400, "failover_db_cluster", **c, TargetDBInstanceIdentifier="m")
    refused(*busy, "stop_db_instance", **m)
    refused(*busy, "start_db_instance", **m)
    refused("InvalidParameterValue", 400, "create_db_snapshot", **m, DBSnapshotIdentifier="x")
    refused("InvalidParameterCombination", 400, "modify_db_instance", **m, MasterUserPassword=PASSWORD)
    refused("InvalidParameterCombination", 400, "delete_db_instance", **m, FinalDBSnapshotIdentifier="x")
    reader = {"DBInstanceIdentifier": "reader"}
    ask("create_db_instance", **(member | reader), Engine="aurora-postgresql")
    settle("describe_db_instances", "DBInstances", "available", **reader)
    same("a failover begins", ask("failover_db_cluster", **c)["DBCluster"]["Status"], "failing-over")
    if CLIENT == "boto3":
        settle("describe_db_clusters", "DBClusters", "failing-over", **c)
    settle("describe_db_clusters", "DBClusters", "available", **c)
    ask("delete_db_instance", **reader)
    vanishes("describe_db_instances", "DBInstanceNotFound", **reader)
    refused("InvalidParameterCombination", 400, "modify_db_cluster", **c, EngineVersion=TO, ApplyImmediately=True)
    refused("InvalidParameterCombination", 400, "modify_db_cluster", **c, EngineVersion="1.0")
    refused("DBClusterParameterGroupNotFound", 404, "modify_db_cluster", **c, DBClusterParameterGroupName="nobody")
    told = ask("modify_db_cluster", **c, NewDBClusterIdentifier="e", DeletionProtection=True)["DBCluster"]
    same("a name waits for the window", told["PendingModifiedValues"].get("DBClusterIdentifier"), "e")
    refused("InvalidParameterCombination", 400, "delete_db_cluster", **c, SkipFinalSnapshot=True)
    ask("modify_db_cluster", **c, DeletionProtection=False, NewDBClusterIdentifier="c")

    made = ask("create_db_cluster_snapshot", **c, **s, Tags=[{"Key": "k", "Value": "v"}])["DBClusterSnapshot"]
    same("a snapshot begins", (made["Status"], made["StorageEncrypted"]), ("creating", True))
    briefly("InvalidDBClusterSnapshotStateFault", 400, "delete_db_cluster_snapshot", **s)
    early = {"DBClusterIdentifier": "d", "SnapshotIdentifier": "s", "Engine": "aurora-postgresql"}
    briefly("InvalidDBClusterSnapshotStateFault", 400, "restore_db_cluster_from_snapshot", **early)
    settle("describe_db_cluster_snapshots", "DBClusterSnapshots", "available", **s)
    client.wait("db_cluster_snapshot_available", s)
    settle("describe_db_clusters", "DBClusters", "available", **c)
    refused("DBClusterSnapshotAlreadyExistsFault", 400, "create_db_cluster_snapshot", **c, **s)
    copy = {"SourceDBClusterSnapshotIdentifier": "s", "TargetDBClusterSnapshotIdentifier": "t"}
    ask("copy_db_cluster_snapshot", **copy, CopyTags=True)
    refused("DBClusterSnapshotAlreadyExistsFault", 400, "copy_db_cluster_snapshot", **copy)
    settle("describe_db_cluster_snapshots", "DBClusterSnapshots", "available", DBClusterSnapshotIdentifier="t")
    names = client.pages("describe_db_cluster_snapshots", "DBClusterSnapshots", c)
    same("both are listed", [one["DBClusterSnapshotIdentifier"] for one in names], ["s", "t"])
    same("tags are copied", names[1]["TagList"], [{"Key": "k", "Value": "v"}])
    ask("delete_db_cluster_snapshot", DBClusterSnapshotIdentifier="t")
    client.wait("db_cluster_snapshot_deleted", {"DBClusterSnapshotIdentifier": "t"})
    restore = {"SnapshotIdentifier": "s", "Engine": "aurora-postgresql"}
    refused("DBClusterAlreadyExistsFault", 400, "restore_db_cluster_from_snapshot", **c, **restore)
    refused("InvalidParameterCombination", 400, "restore_db_cluster_from_snapshot", DBClusterIdentifier="d",
            **restore, EngineVersion="99.9")
    refused("InvalidParameterValue", 400, "restore_db_cluster_to_point_in_time", **clone,
            RestoreToTime="2020-01-01T00:00:00Z")
    ask("restore_db_cluster_from_snapshot", DBClusterIdentifier="d", **restore)
    refused("DBClusterAlreadyExistsFault", 400, "restore_db_cluster_to_point_in_time", **clone,
            UseLatestRestorableTime=True)
    told = ask("restore_db_cluster_to_point_in_time", **(clone | {"DBClusterIdentifier": "f"}),
               UseLatestRestorableTime=True)["DBCluster"]
    same("a clone has no member", told["DBClusterMembers"], [])
    for name in ["d", "f"]:
        settle("describe_db_clusters", "DBClusters", "available", DBClusterIdentifier=name)
        ask("delete_db_cluster", DBClusterIdentifier=name, SkipFinalSnapshot=True)
    refused(*busy, "delete_db_cluster", **c, SkipFinalSnapshot=True)
    ask("stop_db_cluster", **c)
    settle("describe_db_clusters", "DBClusters", "stopped", **c)
    refused(*busy, "create_db_instance", **(member | {"DBInstanceIdentifier": "n"}), Engine="aurora-postgresql")
    ask("start_db_cluster", **c)
    settle("describe_db_clusters", "DBClusters", "available", **c)
    ask("delete_db_instance", **m)
    refused("InvalidParameterCombination", 400, "delete_db_cluster", **c)
    ask("delete_db_cluster", **c, SkipFinalSnapshot=True)
    client.wait("db_cluster_deleted", c)
    same("the waiter agrees", True, True)
    ask("delete_db_cluster_snapshot", **s)
    ask("delete_db_cluster_parameter_group", DBClusterParameterGroupName="logical")


nothing_there()
engines_and_groups()
instances()
clusters()
print(f"{COUNT} checks")
