package manifest

import (
	"slices"

	"github.com/seed-b96de936/troop/core"
)

// schema is what a block of the core's own grammar may hold. The loader checks names against it; the JSON Schema for
// editors and docs/manifest.md are made from it.
type schema struct {
	name      string // "a trigger block", for sentences
	doc       string
	arguments []argument
	defaults  map[string]string // of its arguments, in HCL
	blocks    []block
	hints     map[string]string // remedies for names that people bring along from elsewhere
	open      bool              // its arguments are another program's business
}

type argument struct {
	name string
	typ  string // as the Type of a core.Attribute
	doc  string
	must bool
}

// block is a kind of block within another one.
type block struct {
	typ    string
	labels []string // what they are, such as TYPE and NAME
	many   bool
	body   *schema
}

// anyName stands for names that the grammar leaves open.
const anyName = "NAME"

// Grammar is what a manifest may hold, as plain data.
func Grammar() core.BlockSchema { return manifestGrammar.plain() }

func (s *schema) plain() core.BlockSchema {
	if len(s.arguments)+len(s.blocks) == 0 { // the names are not the core's
		return core.BlockSchema{Attributes: []core.Attribute{{Name: anyName, Type: "any", Doc: "any number of arguments"}}}
	}
	var b core.BlockSchema
	for _, a := range s.arguments {
		b.Attributes = append(b.Attributes, core.Attribute{
			Name: a.name, Type: a.typ, Doc: a.doc, Required: a.must, Default: s.defaults[a.name],
		})
	}
	for _, n := range s.blocks {
		b.Blocks = append(b.Blocks, core.NestedBlock{Type: n.typ, Labels: n.labels, Many: n.many, Doc: n.body.doc, Block: n.body.plain()})
	}
	return b
}

// names of everything that a block may hold.
func (s *schema) names() []string {
	var names []string
	for _, a := range s.arguments {
		names = append(names, a.name)
	}
	for _, b := range s.blocks {
		names = append(names, b.typ)
	}
	slices.Sort(names)
	return names
}

func (s *schema) hasArgument(name string) bool {
	return slices.ContainsFunc(s.arguments, func(a argument) bool { return a.name == name })
}

func (s *schema) hasBlock(typ string) bool {
	return slices.ContainsFunc(s.blocks, func(b block) bool { return b.typ == typ })
}

var manifestGrammar = schema{
	name: "the manifest",
	doc:  "A pipeline: what happens to a commit on its way to production.",
	blocks: []block{
		{typ: "pipeline", labels: []string{"NAME"}, body: &pipelineGrammar},
		{typ: "variable", labels: []string{"NAME"}, many: true, body: &variableGrammar},
		{typ: "locals", many: true, body: &localsGrammar},
		{typ: "secret", labels: []string{"NAME"}, many: true, body: &secretGrammar},
		{typ: "environment", labels: []string{"NAME"}, many: true, body: &environmentGrammar},
		{typ: "trigger", labels: []string{"EVENT"}, many: true, body: &triggerGrammar},
		{typ: "schedule", labels: []string{"NAME"}, many: true, body: &scheduleGrammar},
		{typ: "stage", labels: []string{"TYPE", "NAME"}, many: true, body: &stageGrammar},
		{typ: "notify", labels: []string{"TYPE", "NAME"}, many: true, body: &notifyGrammar},
	},
	hints: map[string]string{
		"resource":  "Terraform resources belong in a module; an environment names it: terraform { module = \"./infrastructure\" }.",
		"module":    "A Terraform module belongs in an environment: environment \"NAME\" { terraform { module = \"./FOLDER\" } }.",
		"provider":  "Terraform providers belong in a Terraform module.",
		"data":      "Terraform data sources belong in a Terraform module.",
		"terraform": "Settings of Terraform belong in an environment: environment \"NAME\" { terraform { … } }.",
		"ansible":   "Settings of Ansible belong in an environment: environment \"NAME\" { ansible { … } }.",
		"source":    "The source belongs in the pipeline: pipeline \"NAME\" { source { path = \".\" } }.",
		"output":    "A stage's outputs come from its plugin; read them as stage.TYPE.NAME.OUTPUT.",
		"job":       "A step of a pipeline is a stage: stage \"TYPE\" \"NAME\" { … }.",
		"step":      "A step of a pipeline is a stage: stage \"TYPE\" \"NAME\" { … }.",
		"task":      "A step of a pipeline is a stage: stage \"TYPE\" \"NAME\" { … }.",
		"secrets":   "Secrets are declared one by one: secret \"NAME\" { … }.",
		"plugin":    "Plugins are found by the type of a stage; a manifest does not list them.",
	},
}

var pipelineGrammar = schema{
	name: "a pipeline block",
	doc:  "Names the pipeline. A manifest has exactly one.",
	arguments: []argument{
		{"exit_with_failures", "number", "exit status of troop run when a stage with on_failure = \"continue\" failed and no other: such a run has passed with failures", false},
		{"runs_on", "list(string)", "labels that a worker of troop serve needs to take runs of this pipeline, such as \"arm64\"; troop run takes no heed", false},
	},
	defaults: map[string]string{"exit_with_failures": "0", "runs_on": "[]"},
	blocks: []block{
		{typ: "source", body: &sourceGrammar},
		{typ: "store", labels: []string{"TYPE"}, body: &storeGrammar},
		{typ: "team", body: &teamGrammar},
	},
	hints: map[string]string{
		"path":    "The source folder belongs in a block: source { path = \".\" }.",
		"backend": "Where runs and environments are kept is said by: store \"s3\" { bucket = … }. Terraform's backend belongs in an environment's terraform block.",
		"members": "Members belong in a block: team { member \"NAME\" { keys = […] } }.",
	},
}

var storeGrammar = schema{
	name: "a store block",
	doc:  "Where runs and environments are kept, for a team or a CI system; without it, in the folder .troop beside the manifest, for one machine. TYPE is s3: a bucket of AWS or of any server with conditional writes.",
	arguments: []argument{
		{"bucket", "string", "name of the bucket, which exists", true},
		{"prefix", "string", "what the keys of the pipeline begin with; without it, the pipeline's name", false},
		{"region", "string", "region of the bucket; without it, that of AWS_REGION or of the profile", false},
		{"endpoint", "string", "address of a server other than AWS, such as https://s3.example.org", false},
		{"profile", "string", "profile of the AWS configuration; without it, AWS_ACCESS_KEY_ID and the like, or AWS_PROFILE", false},
		{"path_style", "bool", "address the bucket in the path, as most servers other than AWS want", false},
		{"redis", "string", "URL of a Redis that announces changes, so that whoever waits for an environment or follows a run sees them at once; it keeps nothing, and may be lost", false},
	},
	defaults: map[string]string{"path_style": "false"},
	hints: map[string]string{
		"key":              "The keys in the bucket begin with: prefix = \"…\".",
		"use_path_style":   "Write: path_style = true.",
		"force_path_style": "Write: path_style = true.",
		"access_key":       "Credentials do not stand in the manifest: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile.",
		"secret_key":       "Credentials do not stand in the manifest: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile.",
		"encrypt":          "What is private is always encrypted, for the team.",
		"dynamodb_table":   "Leases are kept in the bucket itself.",
	},
}

var teamGrammar = schema{
	name: "a team block",
	doc:  "Who may open what is private in a shared store: keys, passwords, Terraform's state and plans.",
	arguments: []argument{
		{"keys_from", "string", "file with a line per key, as in authorized_keys: the key, then the member's name; relative to the manifest's folder", false},
	},
	blocks: []block{{typ: "member", labels: []string{"NAME"}, many: true, body: &memberGrammar}},
	hints:  map[string]string{"keys": "Keys belong to a member: member \"NAME\" { keys = […] }."},
}

var memberGrammar = schema{
	name: "a member block",
	doc:  "A person, or something such as a CI system.",
	arguments: []argument{
		{"keys", "list(string)", "SSH public keys (ssh-ed25519, ssh-rsa) or age recipients (age1…); each opens what is private", true},
	},
	hints: map[string]string{"key": "Keys are a list: keys = [\"ssh-ed25519 …\"]."},
}

var sourceGrammar = schema{
	name: "a source block",
	doc:  "Where commits come from; without it, the manifest's folder.",
	arguments: []argument{
		{"path", "string", "folder of a git work tree or a bare repository, relative to the manifest's folder", true},
		{"filters", "list(string)", "git filters of the repository's own configuration that may run when a commit is checked out, such as \"lfs\"; those of the user's configuration always run, and a file that needs any other is refused", false},
	},
	defaults: map[string]string{"filters": "[]"},
}

var variableGrammar = schema{
	name: "a variable block",
	doc:  "An input of the pipeline, set by --var, by --var-file or by TROOP_VAR_NAME in the environment. Refer to it as var.NAME.",
	arguments: []argument{
		{"type", "type", "string, number, bool, any, list(…), set(…), map(…), object({ … }) or tuple([ … ])", false},
		{"default", "any", "value when none is set; without a default, one must be set", false},
		{"description", "string", "what it is for", false},
		{"sensitive", "bool", "mask the value in every output", false},
	},
	defaults: map[string]string{"sensitive": "false"},
	blocks:   []block{{typ: "validation", many: true, body: &validationGrammar}},
	hints: map[string]string{
		"nullable": "A variable may always be null; refuse it with a validation block.",
		"value":    "The value of a variable is given by default, by -var or by " + envPrefix + "NAME.",
	},
}

var validationGrammar = schema{
	name: "a validation block",
	doc:  "A condition that the value must meet.",
	arguments: []argument{
		{"condition", "bool", "an expression over variables", true},
		{"error_message", "string", "what to tell the user when it is false", true},
	},
}

var localsGrammar = schema{
	name: "a locals block",
	doc:  "Named values. The names are yours; refer to them as local.NAME.",
}

var secretGrammar = schema{
	name: "a secret block",
	doc:  "A value that is read when a run starts and masked in every output. Refer to it as secret.NAME. Set exactly one of file, command, aws_parameter and aws_secret.",
	arguments: []argument{
		{"file", "string", "file that holds the value, relative to the manifest's folder", false},
		{"command", "list(string)", "command that prints the value, as a list of words; it runs in the manifest's folder", false},
		{"aws_parameter", "string", "name of a parameter in AWS Systems Manager's Parameter Store", false},
		{"aws_secret", "string", "name or ARN of a secret in AWS Secrets Manager", false},
		{"region", "string", "AWS region; without it, that of AWS_REGION or of the AWS profile", false},
		{"key", "string", "when the value is a JSON object, the member to take", false},
	},
	hints: map[string]string{
		"value":   "A secret does not stand in the manifest. Name where it is kept: file, command, aws_parameter or aws_secret.",
		"default": "A secret has no default. Name where it is kept: file, command, aws_parameter or aws_secret.",
		"env":     "An environment variable is referred to as env.NAME, without a secret block.",
		"path":    "The file that holds the value is given by: file = \"PATH\".",
		"ssm":     "A parameter of AWS Systems Manager is given by: aws_parameter = \"/PATH\".",
		"arn":     "A secret of AWS Secrets Manager is given by: aws_secret = \"NAME or ARN\".",
	},
}

var environmentGrammar = schema{
	name: "an environment block",
	doc:  "A named set of hosts: how they are made and configured.",
	blocks: []block{
		{typ: "terraform", body: &terraformGrammar},
		{typ: "host", labels: []string{"NAME"}, many: true, body: &hostGrammar},
		{typ: "storage_key", labels: []string{"HOST"}, many: true, body: &storageKeyGrammar},
		{typ: "ansible", body: &ansibleGrammar},
		{typ: "accessory", labels: []string{"TYPE"}, many: true, body: &accessoryGrammar},
	},
	hints: map[string]string{
		"module":   "The module belongs in a block: terraform { module = … }.",
		"playbook": "The playbook belongs in a block: ansible { playbook = … }.",
		"server":   "A server that exists already is a host: host \"NAME\" { address = … }.",
		"database": "A database is an accessory: accessory \"postgres\" { service = … }.",
	},
}

var hostGrammar = schema{
	name: "a host block",
	doc:  "A server that exists already. Troop configures it, and never makes or destroys it; `troop release-host` takes off again what troop has put there. An environment may have such hosts beside those of its module.",
	arguments: []argument{
		{"address", "string", "IP address or DNS name, to which the `Host` patterns of ~/.ssh/config apply", true},
		{"private_address", "string", "address at which the other hosts reach it; left out: address", false},
		{"roles", "list(string)", "`production`, `canary`, `router`, `storage`, `data`; one host may have several, or all", true},
		{"user", "string", "who logs in: root, or a user with sudo without a password", true},
		{"port", "number", "of sshd; left out: 22", false},
		{"key", "string", "file of a private key, or of its public half where an agent has the other; left out: what ~/.ssh/config and the agent offer", false},
		{"jump", "string", "hosts to connect through, as ProxyJump; left out: as ~/.ssh/config says", false},
		{"host_key", "string", "the server's public key, a line as in /etc/ssh/ssh_host_ed25519_key.pub; left out: troop apply asks at first sight", false},
		{"tags", "list(string)", "each is an inventory group, tag_NAME", false},
		{"variables", "map(any)", "inventory variables of this host", false},
	},
	hints: map[string]string{
		"role":     "A host may have several: roles = [\"production\"].",
		"hostname": "Write it as address = \"…\".",
		"vars":     "Write them as variables = { … }.",
	},
}

var storageKeyGrammar = schema{
	name: "a storage_key block",
	doc:  "The credentials of one host, for a bucket that its backups go to. Only that host gets them, for stages that have `grants = [\"storage\"]`.",
	arguments: []argument{
		{"id", "string", "ID of the access key", true},
		{"secret", "string", "the secret access key: secret.NAME or env.NAME", true},
	},
	hints: map[string]string{
		"access_key":        "Write the ID of the access key as id = \"…\".",
		"access_key_id":     "Write it as id = \"…\".",
		"secret_key":        "Write it as secret = secret.NAME.",
		"secret_access_key": "Write it as secret = secret.NAME.",
		"bucket":            "The bucket is said by the stage that moves files there.",
	},
}

var accessoryGrammar = schema{
	name: "an accessory block",
	doc:  "A database of one service, on the host of the role data. TYPE is postgres: a database in a PostgreSQL of the environment; or redis: a Redis for this service alone. Both are the distribution's. The service gets the URL, with a user and a password of its own, in an environment variable.",
	arguments: []argument{
		{"service", "string", "name of the service: that of its deploy stage, or what its service block says", true},
		{"env", "string", "name of the variable with the URL; left out: `DATABASE_URL` or `REDIS_URL`. That name with `_CA` is the file of the certificate that the server shows", false},
		{"port", "number", "of a Redis, where a second service has one, too", false},
	},
	defaults: map[string]string{"port": "16379"},
	hints: map[string]string{
		"services": "Each service has a block: accessory \"postgres\" { service = \"shop\" }.",
		"password": "The password is made by troop, once.",
		"version":  "It is the version of the host's distribution.",
	},
}

var terraformGrammar = schema{
	name: "a terraform block",
	doc:  "The root module that makes the hosts.",
	arguments: []argument{
		{"module", "string", "a bare word names a module that ships with troop; anything else is a folder, relative to the manifest's folder", true},
		{"variables", "map(any)", "values for the module's variables", false},
		{"program", "string", "`terraform` or `tofu`, in PATH; left out: the one that is installed, Terraform first. A module with files for OpenTofu (*.tofu) says it", false},
	},
	blocks: []block{
		{typ: "backend", labels: []string{"TYPE"}, body: &backendGrammar},
		{typ: "review", body: &reviewGrammar},
	},
	hints: map[string]string{
		"source":     "The root module is given by: module = \"./FOLDER\".",
		"approve":    "It belongs in a block: review { approve = true }.",
		"forbid":     "It belongs in a block: review { forbid = [\"destroy\"] }.",
		"workspace":  "Each environment has a state of its own; workspaces are not used.",
		"region":     "Values for the module's variables belong in: variables = { region = … }.",
		"var":        "Values for the module's variables belong in: variables = { … }.",
		"vars":       "Values for the module's variables belong in: variables = { … }.",
		"extra_vars": "Values for the module's variables belong in: variables = { … }.",
	},
}

var backendGrammar = schema{
	name: "a backend block",
	doc:  "Where Terraform keeps the state. The arguments are those of Terraform's backend TYPE. It overrides a backend in the module.",
	open: true,
}

var reviewGrammar = schema{
	name: "a review block",
	doc:  "What an apply may do without asking.",
	arguments: []argument{
		{"approve", "bool", "apply waits for an approval", false},
		{"forbid", "list(string)", "kinds of changes that are refused: create, update, replace, destroy", false},
		{"max_destroy", "number", "the most resources that one apply may destroy", false},
		{"max_monthly", "number", "US dollars a month at AWS' list prices, without data sent: a plan that makes the environment cost more, or more by something whose price is not known, waits for an approval", false},
		{"rules", "list(string)", "files with rules of your own for plans, in Rego, such as \"policy/*.rego\"", false},
		{"drift", "string", "what a run does about changes made outside troop: report or stop; without it, a run does not look for them", false},
	},
	defaults: map[string]string{"approve": "false", "forbid": "[]"},
}

var ansibleGrammar = schema{
	name: "an ansible block",
	doc:  "The playbook that configures the hosts.",
	arguments: []argument{
		{"playbook", "string", "a bare name is a playbook that ships with troop; anything else is a file, relative to the manifest's folder. An ansible.cfg beside it or in the manifest's folder holds, but for how hosts are reached and whose keys are trusted", true},
		{"variables", "map(any)", "values for the playbook's variables", false},
		{"requirements", "string", "a requirements.yml of your own playbook: its collections and roles are installed once, and their digest is kept in requirements.lock beside it; archives are found from its folder, without a network", false},
		{"vault_password_command", "list(string)", "a program and its arguments, started in the manifest's folder, that prints the password of your vaults; else as ANSIBLE_VAULT_PASSWORD_FILE says", false},
	},
	hints: map[string]string{
		"inventory":  "The inventory is made from the environment's hosts.",
		"vars":       "Values for the playbook's variables belong in: variables = { … }.",
		"extra_vars": "Values for the playbook's variables belong in: variables = { … }.",
		"user":       "The user of a host is told by the Terraform module.",
		"become":     "Whether a play becomes root is said in the playbook.",
	},
}

var triggerGrammar = schema{
	name: "a trigger block",
	doc:  "Chooses the environment of a run by the branch of its commit, or by its tag. With triggers, the git hook starts a run only for what one of them names; without any, for every branch.",
	arguments: []argument{
		{"branches", "list(string)", "names of branches, with * for any part of a name", false},
		{"tags", "list(string)", "names of tags, with * for any part of a name; a push of a tag to a bare repository, or troop run --tag", false},
		{"environment", "string", "where the run goes; without it, in none", false},
		{"until", "reference", "the last stage to run: stage.TYPE.NAME", false},
	},
	hints: map[string]string{
		"branch": "Branches are a list: branches = [\"main\"].",
		"tag":    "Tags are a list: tags = [\"v*\"].",
	},
}

var scheduleGrammar = schema{
	name: "a schedule block",
	doc:  "What `troop serve` does at certain times. It says one of run, drift and drill. A time that passes while no server runs is made up for once.",
	arguments: []argument{
		{"cron", "string", "when: minute, hour, day of the month, month and day of the week, in UTC; CRON_TZ=Europe/Berlin before them is another zone", true},
		{"run", "string", "runs the newest commit of this branch", false},
		{"environment", "string", "where the run goes; without it, where a trigger for the branch says", false},
		{"drift", "string", "looks for drift in this environment", false},
		{"drill", "string", "restores a backup of each host of this environment for a test, as troop maintenance drill does", false},
	},
	hints: map[string]string{
		"calendar": "The times are those of cron: cron = \"0 3 * * *\".",
		"branch":   "A run names its branch: run = \"main\".",
	},
}

// stageGrammar holds the arguments of every stage that belong to the core. A plugin never sees them.
var stageGrammar = schema{
	name: "a stage block",
	doc:  "One step of the pipeline, run by the plugin TYPE. A stage also takes its plugin's own arguments.",
	arguments: []argument{
		{"needs", "list(reference)", "stages that have to pass before this one starts: [stage.TYPE.NAME]", false},
		{"timeout", "duration", "the most time for one attempt", false},
		{"retries", "number", "how often a failed attempt is repeated", false},
		{"on_failure", "string", "stop ends the run, which has failed; continue goes on as if the stage had passed, and the run has passed with failures", false},
		{"environment", "string", "environment to work in; without it, that of the run", false},
		{"for_each", "any", "a list of strings or a map: the stage is repeated for each item, as each.key and each.value", false},
		{"grants", "list(string)", "what the plugin gets only when it is granted: storage is the key with which every host sends files to the storage host or a bucket", false},
	},
	defaults: map[string]string{"timeout": `"1h"`, "retries": "0", "on_failure": `"stop"`, "grants": "[]"},
	blocks:   []block{{typ: "when", body: &whenGrammar}},
	hints: map[string]string{
		"capabilities": "A plugin says itself what it needs. What it gets only from you is given by: grants = [\"storage\"].",
		"depends_on":   "What a stage waits for is given by: needs = [stage.TYPE.NAME].",
		"dynamic":      "Blocks are not made by dynamic. Repeat the whole stage with for_each.",
		"lifecycle":    "A stage has no lifecycle; see needs, when, timeout, retries and on_failure.",
		"provider":     "The plugin of a stage is chosen by its TYPE: stage \"TYPE\" \"NAME\".",
	},
}

var whenGrammar = schema{
	name: "a when block",
	doc:  "Conditions for the stage to run; it is skipped unless all of them hold.",
	arguments: []argument{
		{"branches", "list(string)", "names of branches, with * for any part of a name", false},
		{"environments", "list(string)", "names of environments", false},
		{"paths", "list(string)", "patterns of files in the source folder: one must have changed since the stage last passed; ** matches any folders, !PATTERN excludes", false},
	},
	hints: map[string]string{
		"branch":      "Branches are a list: branches = [\"main\"].",
		"environment": "Environments are a list: environments = [\"production\"].",
		"path":        "Paths are a list: paths = [\"web/**\"].",
		"changes":     "Files are given by: paths = [\"web/**\"].",
	},
}

var notifyGrammar = schema{
	name: "a notify block",
	doc: "Where alerts and results are sent. TYPE is email (smtp://USER:PASSWORD@HOST:PORT/?from=A&to=B,C), sms (twilio://SID:TOKEN@api.twilio.com/?from=+1…&to=+1…,+1…), " +
		"slack, teams or discord (the https:// address of their webhook), pagerduty (https://:KEY@events.pagerduty.com/v2/enqueue), opsgenie (https://:KEY@api.opsgenie.com/v2/alerts), " +
		"webhook (JSON to any https:// address) or chat (the addresses of the library shoutrrr, such as telegram://…). Each receiver has a queue of its own. " +
		"What comes at once is one message; one that cannot be delivered is tried again for an hour, which troop events shows; what begins and ends again and again is told once more, and when it has settled.",
	arguments: []argument{
		{"url", "string", "address; it may hold a secret: env.NAME", true},
		{"on", "list(string)", "severities (alert, resolved, warning, info) and kinds of events (run.failed)", false},
		{"cooldown", "duration", "the least time between two messages about the same thing; it starts when one was delivered", false},
		{"after", "duration", "escalation: an alert is told only when it has lasted this long and nobody has acknowledged or silenced it", false},
		{"limit", "number", "messages in a minute, to each receiver; what comes faster becomes one", false},
		{"page", "string", "address of the server's pages, for links in messages", false},
	},
	defaults: map[string]string{"on": `["alert", "resolved", "run.failed"]`, "cooldown": `"5m"`, "limit": "4"},
	hints: map[string]string{
		"to":     "The receivers are a part of the url: smtp://USER:PASSWORD@HOST:PORT/?from=…&to=….",
		"events": "What is to be heard is given by: on = [\"alert\", \"run.failed\"].",
	},
}
