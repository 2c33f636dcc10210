package contract

// Description is what a plugin says of itself.
type Description struct {
	Name, Version, Summary string
	Stage                  bool // has Run
	// Cacheable says that Run's result depends on the commit, the configuration and the plugin alone; identical
	// inputs skip it.
	Cacheable    bool
	Agent        *Agent // nil: has no Watch
	Config       BlockSchema
	Outputs      []OutputDoc
	Actions      []Action
	Capabilities []Capability
}

// BlockSchema describes the arguments and nested blocks of a block.
type BlockSchema struct {
	Attributes []Attribute
	Blocks     []NestedBlock
}

// Attribute is one argument. Type is an HCL type constraint, or duration or size; Default is HCL source.
type Attribute struct {
	Name, Type, Default, Doc string
	Required, Sensitive      bool
}

// NestedBlock is a block within a block.
type NestedBlock struct {
	Type           string
	Labels         []string
	Required, Many bool
	Doc            string
	Block          BlockSchema
}

// OutputDoc describes a value that a stage hands on. Manifests read it as stage.TYPE.NAME.OUTPUT.
type OutputDoc struct{ Name, Doc string }

// Action is a command that a plugin offers: `troop TYPE NAME`.
type Action struct {
	Name, Summary string
	Args          []Arg
}

// Arg describes one argument of an action: a flag --NAME, or a positional argument in the order of the list.
type Arg struct {
	Name, Doc, Default string
	Flag, Required     bool
}

// Agent is what a plugin's agent needs of the service manager of its host.
type Agent struct {
	User              string   // empty: the system user "troop"; "root" only with a reason
	LinuxCapabilities []string // such as CAP_KILL
	Groups            []string // supplementary groups
	WritablePaths     []string // beyond the state folder
}
