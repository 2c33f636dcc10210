package aws_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/zclconf/go-cty/cty"
)

// schemaFile is the output of `terraform providers schema -json` for the real provider, reduced to what the module and
// similar ones use.
const schemaFile = "testdata/aws-provider-5.32-schema.json"

// readSchema returns the provider's source address and schema.
func readSchema(file string) (source string, schema *tfjson.ProviderSchema, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	var all tfjson.ProviderSchemas
	if err := json.Unmarshal(b, &all); err != nil {
		return "", nil, fmt.Errorf("read %s: %w", file, err)
	}
	for source, schema := range all.Schemas {
		return source, schema, nil
	}
	return "", nil, fmt.Errorf("read %s: no provider in it", file)
}

// serve runs this process as a provider started by Terraform.
func serve(file string) error {
	source, schema, err := readSchema(file)
	if err != nil {
		return err
	}
	if strings.HasPrefix(os.Getenv(versionVariable), "6.") {
		upgrade(schema)
	}
	response, err := answer(schema)
	if err != nil {
		return err
	}
	return tf5server.Serve(source, func() tfprotov5.ProviderServer { return &provider{schema: response} })
}

// upgrade makes a schema of provider 5 one of provider 6, as its upgrade guide says, whose own cannot be had here: resources of
// a region have the argument region, and some arguments are gone.
// https://registry.terraform.io/providers/hashicorp/aws/latest/docs/guides/version-6-upgrade
func upgrade(s *tfjson.ProviderSchema) {
	for _, all := range []map[string]*tfjson.Schema{s.ResourceSchemas, s.DataSourceSchemas} {
		for name, schema := range all {
			if !strings.HasPrefix(name, "aws_iam_") {
				schema.Block.Attributes["region"] = &tfjson.SchemaAttribute{AttributeType: cty.String, Optional: true, Computed: true}
			}
		}
	}
	delete(s.ResourceSchemas["aws_eip"].Block.Attributes, "vpc")
	for _, name := range []string{"cpu_core_count", "cpu_threads_per_core"} {
		delete(s.ResourceSchemas["aws_instance"].Block.Attributes, name)
	}
	for _, name := range []string{"elastic_gpu_specifications", "elastic_inference_accelerator"} {
		delete(s.ResourceSchemas["aws_launch_template"].Block.NestedBlocks, name)
	}
}

// provider has only the real provider's schema: enough for validate, and for tests in which Terraform mocks plan and apply.
// Other methods of the interface are not called there.
type provider struct {
	tfprotov5.ProviderServer
	schema *tfprotov5.GetProviderSchemaResponse
}

func (p *provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return p.schema, nil
}

func (p *provider) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (p *provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (p *provider) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (p *provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

// answer converts a schema to the protocol's form.
func answer(s *tfjson.ProviderSchema) (*tfprotov5.GetProviderSchemaResponse, error) {
	response := &tfprotov5.GetProviderSchemaResponse{
		ResourceSchemas:   map[string]*tfprotov5.Schema{},
		DataSourceSchemas: map[string]*tfprotov5.Schema{},
	}
	var err error
	if response.Provider, err = schemaOf(s.ConfigSchema); err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	for name, schema := range s.ResourceSchemas {
		if response.ResourceSchemas[name], err = schemaOf(schema); err != nil {
			return nil, fmt.Errorf("resource %s: %w", name, err)
		}
	}
	for name, schema := range s.DataSourceSchemas {
		if response.DataSourceSchemas[name], err = schemaOf(schema); err != nil {
			return nil, fmt.Errorf("data source %s: %w", name, err)
		}
	}
	return response, nil
}

func schemaOf(s *tfjson.Schema) (*tfprotov5.Schema, error) {
	block, err := blockOf(s.Block)
	if err != nil {
		return nil, err
	}
	return &tfprotov5.Schema{Version: int64(s.Version), Block: block}, nil
}

var nestings = map[tfjson.SchemaNestingMode]tfprotov5.SchemaNestedBlockNestingMode{
	tfjson.SchemaNestingModeSingle: tfprotov5.SchemaNestedBlockNestingModeSingle,
	tfjson.SchemaNestingModeList:   tfprotov5.SchemaNestedBlockNestingModeList,
	tfjson.SchemaNestingModeSet:    tfprotov5.SchemaNestedBlockNestingModeSet,
}

func blockOf(b *tfjson.SchemaBlock) (*tfprotov5.SchemaBlock, error) {
	block := &tfprotov5.SchemaBlock{Deprecated: b.Deprecated}
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		a := b.Attributes[name]
		kind, err := typeOf(a.AttributeType)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		block.Attributes = append(block.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: kind, Required: a.Required, Optional: a.Optional, Computed: a.Computed,
			Sensitive: a.Sensitive, Deprecated: a.Deprecated,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(b.NestedBlocks)) {
		n := b.NestedBlocks[name]
		nesting, ok := nestings[n.NestingMode]
		if !ok {
			return nil, fmt.Errorf("%s: nesting %q", name, n.NestingMode)
		}
		inner, err := blockOf(n.Block)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		block.BlockTypes = append(block.BlockTypes, &tfprotov5.SchemaNestedBlock{
			TypeName: name, Block: inner, Nesting: nesting, MinItems: int64(n.MinItems), MaxItems: int64(n.MaxItems),
		})
	}
	return block, nil
}

var primitives = map[cty.Type]tftypes.Type{cty.String: tftypes.String, cty.Number: tftypes.Number, cty.Bool: tftypes.Bool}

func typeOf(t cty.Type) (tftypes.Type, error) {
	switch {
	case t.IsPrimitiveType():
		return primitives[t], nil
	case t.IsListType(), t.IsSetType(), t.IsMapType():
		element, err := typeOf(t.ElementType())
		if err != nil {
			return nil, err
		}
		switch {
		case t.IsListType():
			return tftypes.List{ElementType: element}, nil
		case t.IsSetType():
			return tftypes.Set{ElementType: element}, nil
		}
		return tftypes.Map{ElementType: element}, nil
	case t.IsObjectType():
		object := tftypes.Object{AttributeTypes: map[string]tftypes.Type{}}
		for name, attribute := range t.AttributeTypes() {
			var err error
			if object.AttributeTypes[name], err = typeOf(attribute); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	return nil, fmt.Errorf("type %s", t.FriendlyName())
}
