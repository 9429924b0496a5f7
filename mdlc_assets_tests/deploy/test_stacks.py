"""The stacks that moto's server can deploy, deployed over HTTP; what they made is then used by the platform itself.

moto reports CREATE_COMPLETE for what it does not make, so each thing is looked for by its own service. It makes no
policies of buckets, topics and queues, no versioning, expiry and Glue databases, no services of ECS, CodeBuild
and CodePipeline: those, and so the stacks dagster, mlflow and cicd, are looked at as templates only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import polars as pl
import pytest

from mdlc_assets.export.places import Places
from mdlc_assets.production import production_resources
from mdlc_assets.resources.alerts import Problem
from mdlc_assets_tests.deploy.stacks import ACCOUNT, PREFIX, REGION, Account, template

_DAY = date(2018, 4, 1)
_DRIFT = Problem("inputs", "warn", "Inputs moved.", "amount: 80 against 53", "Look.", "team:x", "2018-04-01", 2.0)


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """A server of its own: the stacks give names that are the account's."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield Account(f"http://{host}:{port}")
    server.stop()


@pytest.fixture(scope="module")
def outputs(account: Account) -> dict[str, dict[str, str]]:
    """What the stacks say they made, in the order that the page on production names."""
    return account.deploy_all()


@pytest.fixture(scope="module")
def reader(account: Account, outputs: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """All of them and the stream's reader. From now on moto fails what is put into the stream: no image can be run."""
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{PREFIX}-lambda:1"
    _push(account)
    return outputs | {"stream": account.deploy("stream", Image=image)}


def _push(account: Account) -> None:
    """moto makes a function of an image only when the repository has it."""
    ecr = account.client("ecr")
    ecr.create_repository(repositoryName=f"{PREFIX}-lambda")
    media = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": media, "config": {"digest": "sha256:" + "0" * 64}}
    ecr.put_image(repositoryName=f"{PREFIX}-lambda", imageManifest=json.dumps(manifest), imageTag="1")


def test_the_network_keeps_services_private(account: Account, outputs: dict[str, dict[str, str]]) -> None:
    ec2, network = account.client("ec2"), outputs["network"]
    subnets = ec2.describe_subnets(SubnetIds=network["PrivateSubnets"].split(","))["Subnets"]
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2
    (nat,) = ec2.describe_nat_gateways()["NatGateways"]
    assert nat["SubnetId"] in network["PublicSubnets"].split(",")
    assert not [subnet for subnet in subnets if subnet["MapPublicIpOnLaunch"]]
    (database,) = ec2.describe_security_groups(GroupIds=[network["DatabaseGroup"]])["SecurityGroups"]
    (rule,) = database["IpPermissions"]
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [network["ServiceGroup"]]
    assert rule["IpRanges"] == []


def test_the_buckets_are_as_they_are_declared(account: Account, outputs: dict[str, dict[str, str]]) -> None:
    s3, data = account.client("s3"), outputs["data"]
    for name in ("Landing", "Lake", "Models"):
        bucket = data[name]
        assert bucket.endswith(f"-{ACCOUNT}-{REGION}")
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == data["Key"]


def test_the_platforms_resources_work_on_them(
    account: Account, outputs: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": account.address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "MDLC_ALERT_SNS_TOPIC": outputs["alarms"]["Alerts"],
    }.items():
        monkeypatch.setenv(name, value)
    data = outputs["data"]
    environment = {
        "MDLC_LAKE": f"s3://{data['Lake']}/lake",
        "MDLC_LANDING": f"s3://{data['Landing']}/landing",
        "MDLC_PAGES": f"s3://{data['Lake']}/pages",
        "MDLC_ARTIFACTS": f"s3://{data['Models']}/mlflow",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "MDLC_SAGEMAKER_ROLE": outputs["roles"]["SageMaker"],
    }
    resources = production_resources(environment)
    table = resources["lake"].table("payments_fraud", "raw")
    table.write_day(_DAY, pl.DataFrame({"id": [1, 2]}))
    assert table.read_day(_DAY)["id"].to_list() == [1, 2]
    head = account.client("s3").head_object(
        Bucket=data["Lake"], Key=f"lake/payments_fraud/raw/date={_DAY}/part-0.parquet"
    )
    assert head["ServerSideEncryption"] == "aws:kms"
    account.client("s3").put_object(
        Bucket=data["Landing"], Key=f"landing/payments_fraud/transactions/{_DAY}.csv", Body=b"id\n1\n"
    )
    assert resources["landing"].feed("payments_fraud", "transactions").days() == [_DAY]

    queue = account.client("sqs").create_queue(QueueName="told")["QueueUrl"]
    account.client("sns").subscribe(
        TopicArn=outputs["alarms"]["Alerts"], Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:told"
    )
    resources["alerts"].tell("payments_fraud", _DAY, [_DRIFT])
    (message,) = account.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert "payments_fraud" in message["Body"]


def test_tables_and_streams_take_what_is_theirs(account: Account, outputs: dict[str, dict[str, str]]) -> None:
    dynamo, data = account.client("dynamodb"), outputs["data"]
    item = {
        "pk": {"S": "item|x|customer_id|7"},
        "sk": {"B": b"\0\1"},
        "day": {"S": "1|2018-04-01"},
        "instant": {"N": "5"},
    }
    dynamo.put_item(TableName=data["Online"], Item=item)
    key = {"pk": item["pk"], "sk": item["sk"]}
    assert dynamo.get_item(TableName=data["Online"], Key=key)["Item"] == item
    found = dynamo.query(
        TableName=data["Online"],
        IndexName="by_day",
        KeyConditionExpression="#d = :day AND instant > :least",
        ExpressionAttributeNames={"#d": "day"},
        ExpressionAttributeValues={":day": item["day"], ":least": {"N": "4"}},
    )
    assert found["Count"] == 1

    kinesis = account.client("kinesis")
    kinesis.put_record(StreamName=data["Stream"], Data=b"{}", PartitionKey="7")
    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=data["Stream"])["Shards"]]
    read = []
    for shard in shards:
        iterator = kinesis.get_shard_iterator(
            StreamName=data["Stream"], ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        read += [record["Data"] for record in kinesis.get_records(ShardIterator=iterator)["Records"]]
    assert read == [b"{}"]


def test_the_exported_workflows_name_what_the_stacks_made(account: Account, outputs: dict[str, dict[str, str]]) -> None:
    places = Places(REGION, outputs["roles"]["SageMaker"], "image", "s3://bucket", "s3://bucket", PREFIX)
    assert places.alerts == outputs["alarms"]["Alerts"]
    assert account.client("sqs").get_queue_url(QueueName=places.approvals.rsplit("/", 1)[1])["QueueUrl"]
    assert places.role_named("states") == outputs["step-functions"]["States"]
    assert places.role_named("scheduler") == outputs["step-functions"]["Scheduler"]


def test_roles_are_assumed_by_their_service_alone(account: Account, outputs: dict[str, dict[str, str]]) -> None:
    iam = account.client("iam")
    for name, service in {
        "sagemaker": "sagemaker.amazonaws.com",
        "work": "ecs-tasks.amazonaws.com",
        "control": "ecs-tasks.amazonaws.com",
        "states": "states.amazonaws.com",
    }.items():
        role = iam.get_role(RoleName=f"{PREFIX}-{name}")["Role"]
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": service}
        for policy in iam.list_role_policies(RoleName=f"{PREFIX}-{name}")["PolicyNames"]:
            document = iam.get_role_policy(RoleName=f"{PREFIX}-{name}", PolicyName=policy)["PolicyDocument"]
            assert "Fn::" not in json.dumps(document)
            assert "${" not in json.dumps(document)


def test_the_reader_of_the_stream_is_bound_to_it(account: Account, reader: dict[str, dict[str, str]]) -> None:
    function = account.client("lambda").get_function(FunctionName=reader["stream"]["Reader"])["Configuration"]
    assert function["Environment"]["Variables"]["MDLC_ONLINE_TABLE"] == reader["data"]["Online"]
    assert function["Role"].endswith(f"role/{PREFIX}-stream")
    (mapping,) = account.client("lambda").list_event_source_mappings(FunctionName=reader["stream"]["Reader"])[
        "EventSourceMappings"
    ]
    assert mapping["EventSourceArn"] == reader["data"]["StreamArn"]
    assert mapping["BatchSize"] == 100


def test_every_alarm_is_one_that_cloudwatch_takes(account: Account, reader: dict[str, dict[str, str]]) -> None:
    """moto's CloudFormation makes none, so each is put by CloudWatch's own call."""
    watched = account.client("cloudwatch")
    for concern in ("alarms", "stream"):
        for name, resource in template(concern)["Resources"].items():
            if resource["Type"] == "AWS::CloudWatch::Alarm":
                watched.put_metric_alarm(**_filled(resource["Properties"], template(concern), reader, concern))
                assert resource["Properties"]["AlarmActions"], name
    found = {alarm["AlarmName"]: alarm for alarm in watched.describe_alarms()["MetricAlarms"]}
    assert found[f"{PREFIX}-events-wait"]["Dimensions"] == [{"Name": "StreamName", "Value": reader["data"]["Stream"]}]
    assert found[f"{PREFIX}-stream-failing"]["AlarmActions"] == [reader["alarms"]["Alerts"]]
    watched.set_alarm_state(AlarmName=f"{PREFIX}-daemon-down", StateValue="ALARM", StateReason="a test")
    on = watched.describe_alarms(StateValue="ALARM")["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in on] == [f"{PREFIX}-daemon-down"]


def _filled(value: Any, whole: dict[str, Any], outputs: dict[str, dict[str, str]], concern: str) -> Any:
    """A piece of a template with its references resolved, as far as alarms have them."""
    names = {"Prefix": PREFIX, "AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT}
    if isinstance(value, list):
        return [_filled(part, whole, outputs, concern) for part in value]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        name = value["Ref"]
        known = names | {
            key: one["Default"] for key, one in whole["Parameters"].items() if key != "Prefix" and "Default" in one
        }
        return known.get(name) or outputs[concern][name]
    if "Fn::Sub" in value:
        return re.sub(r"\$\{([\w:]+)\}", lambda found: names[found[1]], value["Fn::Sub"])
    if "Fn::ImportValue" in value:
        wanted = _filled(value["Fn::ImportValue"], whole, outputs, concern).removeprefix(f"{PREFIX}-")
        return outputs["data"][wanted.capitalize()]
    if "Fn::GetAtt" in value:
        return f"{PREFIX}-unreadable"
    return {key: _filled(part, whole, outputs, concern) for key, part in value.items()}
