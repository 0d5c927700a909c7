"""The settings files as `fedge init` writes them."""

EXAMPLE_MODEL = """\
# The model: put your own columns and classes here; these belong to the example with three pumps.
[model]
features = ["vibration_mm_s", "temperature_c", "current_a", "noise_db"]
classes = ["normal", "cavitation", "bearing"]
# for a regression instead of classes:  targets = ["remaining_hours"]
layers = [{ type = "dense", units = 16 }, { type = "relu" }]    # the output layer is added
"""
EXAMPLE_DATA = """\
[data]
source = "csv"        # or "npz", or "python" with callable = "module:function"
path = "data.csv"     # one file, or a folder of them; it may grow while the agent runs
label = "state"       # the column that names each row's class
holdout = 0.2         # the last part by time is kept to measure the model, and never trained on
"""
EXAMPLE_LEARNING = """\
[plan]                # what each chosen device does in a round
epochs = 5
batch_size = 16       # 0: all samples at once; with epochs = 1 that is FedSGD
learning_rate = 0.1

[rounds]
fraction = 1.0        # C: the part of the fleet that is chosen for each round
quorum = 3            # a round with fewer updates stays open
deadline_s = 60       # how long a round waits for slow devices

[stopping]            # whichever comes first
rounds = 20
patience = 5          # rounds without a better loss on the devices' held-out parts

"""
FEDERATION_TOML = """\
# What is learnt, how rounds run, when to stop. The aggregator reads this; `--check` prints what it has read.

[federation]
name = {name}
seed = 1              # the same seed and the same devices give the same model, bit for bit

[broker]
url = {url}
ca = "ca.pem"
certificate = "aggregator/identity.pem"    # key and certificate in one file
key = "aggregator/identity.pem"

[watch]               # the identity that first checks whether another aggregator is at work
certificate = "aggregator/watch.pem"
key = "aggregator/watch.pem"

[signing]             # devices take only models that are signed with this key
key = "aggregator/signing.key"

{model}
{learning}[state]
folder = "state"      # the ledger: back it up

[export]
folder = "export"     # model.onnx, model.safetensors, manifest.json after every round
choose = "best"       # of the models that were measured; or "newest"; the other is in a folder beside it
"""
DEVICE_TOML = """\
# The part of agent.toml that all devices share: edit it before `fedge enroll`, or on the device.
# `fedge-agent --config agent.toml --check` reads the data and connects to nothing.

{data}
[state]
folder = "state"      # the saved update and the newest model
"""
REGISTRAR_TOML = """\
# Where devices find the broker, and how long certificates last, for `fedge enroll` and `fedge registrar`.

[broker]
host = {host}
port = {port}
provisioning_port = {provisioning_port}

[certificates]        # in days
server_days = {server_days}
device_days = {device_days}
"""
