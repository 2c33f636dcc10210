package environment

import (
	"errors"
	"slices"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

// A disk with data is listed, and removed only if its ID is given.
func TestSelectOrphans(t *testing.T) {
	vpc := core.Tagged{Type: "aws_vpc", ID: "vpc-1", Tags: map[string]string{"Name": "troop-lab"}}
	data := core.Tagged{Type: "aws_ebs_volume", ID: "vol-1", Tags: map[string]string{"troop:data": "storage-1"}}
	for _, x := range []struct {
		ids      []string
		removing bool
		want     []string
	}{
		{nil, false, []string{"aws_vpc vpc-1 troop-lab", "aws_ebs_volume vol-1"}},
		{nil, true, []string{"aws_vpc vpc-1 troop-lab"}},
		{[]string{"vol-1"}, true, []string{"aws_ebs_volume vol-1"}},
	} {
		got, err := selected([]core.Tagged{vpc, data}, x.ids, x.removing)
		if err != nil || !slices.Equal(got.Lines(), x.want) {
			t.Errorf("selected(%v, %v) = %v, %v, want %v", x.ids, x.removing, got, err, x.want)
		}
	}
	if _, err := selected([]core.Tagged{vpc}, []string{"vol-9"}, false); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("an unknown ID: %v", err)
	}
	none, err := selected(nil, nil, true)
	if err != nil || none == nil || !slices.Equal(none.Lines(), []string{"every resource with the tags of the environment is in the state"}) {
		t.Errorf("none: %v, %v", none, err)
	}
}

// What comes while orphans are removed is removed too, and nothing is tried twice.
func TestRemoveUntilNone(t *testing.T) {
	vpc, subnet := core.Tagged{Type: "aws_vpc", ID: "vpc-1"}, core.Tagged{Type: "aws_subnet", ID: "subnet-1"}
	var removed []string
	err := untilNone(Orphans{vpc}, func(list Orphans) error {
		removed = append(removed, list.Lines()...)
		return nil
	}, func() (Orphans, error) { return Orphans{vpc, subnet}, nil })
	if err != nil || !slices.Equal(removed, []string{"aws_vpc vpc-1", "aws_subnet subnet-1"}) {
		t.Errorf("removed %v, %v", removed, err)
	}
}
