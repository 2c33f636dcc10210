// Package fakeaws is a fake of the parts of AWS that preflight calls: STS, EC2 and Service Quotas, in their own XML and
// JSON. Only tests import it.
package fakeaws

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Account is the content of the fake. It must not change while it serves.
type Account struct {
	Regions   []Region
	Zones     []Zone
	VPCs      []VPC
	Subnets   []Subnet
	Addresses []Address
	Images    []Image
	Types     []Type
	Offerings []Offering
	Keys      []Key
	Instances []Instance
	Quotas    map[string]float64 // by code
	Refuse    map[string]string  // error code by IAM action

	mu    sync.Mutex
	asked []string
}

// The resources, reduced to the fields that preflight uses.
type (
	Region struct {
		Name  string `xml:"regionName"`
		OptIn string `xml:"optInStatus"`
	}
	Zone struct {
		Name   string `xml:"zoneName"`
		State  string `xml:"zoneState"`
		OptIn  string `xml:"optInStatus"`
		Region string `xml:"regionName"`
	}
	VPC struct {
		ID    string `xml:"vpcId"`
		CIDR  string `xml:"cidrBlock"`
		CIDRs []CIDR `xml:"cidrBlockAssociationSet>item"`
		Tags  []Tag  `xml:"tagSet>item"`
	}
	CIDR struct {
		Block string `xml:"cidrBlock"`
		State string `xml:"cidrBlockState>state"`
	}
	Subnet struct {
		ID     string `xml:"subnetId"`
		VPC    string `xml:"vpcId"`
		CIDR   string `xml:"cidrBlock"`
		Zone   string `xml:"availabilityZone"`
		Free   int    `xml:"availableIpAddressCount"`
		Public bool   `xml:"mapPublicIpOnLaunch"`
	}
	Address struct {
		ID   string `xml:"allocationId"`
		Tags []Tag  `xml:"tagSet>item"`
	}
	Image struct {
		ID           string `xml:"imageId"`
		Owner        string `xml:"imageOwnerId"`
		Name         string `xml:"name"`
		Architecture string `xml:"architecture"`
		Root         string `xml:"rootDeviceType"`
		State        string `xml:"imageState"`
		Platform     string `xml:"platform,omitempty"`
		Created      string `xml:"creationDate"`
	}
	Type struct {
		Name          string   `xml:"instanceType"`
		Architectures []string `xml:"processorInfo>supportedArchitectures>item"`
		Hypervisor    string   `xml:"hypervisor"`
		VCPUs         int      `xml:"vCpuInfo>defaultVCpus"`
	}
	Offering struct {
		Type string `xml:"instanceType"`
		Kind string `xml:"locationType"`
		Zone string `xml:"location"`
	}
	Key struct {
		Name   string `xml:"keyName"`
		Public string `xml:"publicKey"`
		Tags   []Tag  `xml:"tagSet>item"`
	}
	Instance struct {
		ID      string `xml:"instanceId"`
		Type    string `xml:"instanceType"`
		State   string `xml:"instanceState>name"`
		Cores   int    `xml:"cpuOptions>coreCount"`
		Threads int    `xml:"cpuOptions>threadsPerCore"`
		Tags    []Tag  `xml:"tagSet>item"`
	}
	Tag struct {
		Key   string `xml:"key"`
		Value string `xml:"value"`
	}
)

// New returns an account in which terraform/aws can make hosts in one region.
func New(region string) *Account {
	a, b, c := region+"a", region+"b", region+"c"
	image := func(id, name, architecture, created string) Image {
		return Image{ID: id, Owner: "136693071363", Name: name, Architecture: architecture, Root: "ebs", State: "available", Created: created}
	}
	return &Account{
		Regions: []Region{{"us-east-1", "opt-in-not-required"}, {region, "opted-in"}, {"af-south-1", "not-opted-in"}},
		Zones: []Zone{
			{a, "available", "opt-in-not-required", region},
			{b, "available", "opt-in-not-required", region},
			{c, "unavailable", "opt-in-not-required", region},
			{region + "-ham-1a", "available", "not-opted-in", region},
		},
		Images: []Image{
			image("ami-0aaaaaaaaaaaaaaa1", "debian-12-amd64-20260801-1", "x86_64", "2026-08-01T00:00:00.000Z"),
			image("ami-0aaaaaaaaaaaaaaa2", "debian-12-amd64-20260901-1", "x86_64", "2026-09-01T00:00:00.000Z"),
			image("ami-0aaaaaaaaaaaaaaa3", "debian-12-arm64-20261001-1", "arm64", "2026-10-01T00:00:00.000Z"),
		},
		Types: []Type{
			{"t2.small", []string{"i386", "x86_64"}, "xen", 1},
			{"t3.small", []string{"x86_64"}, "nitro", 2},
			{"t4g.small", []string{"arm64"}, "nitro", 2},
			{"m7i.large", []string{"x86_64"}, "nitro", 2},
		},
		Offerings: []Offering{
			{"t2.small", "availability-zone", a},
			{"t2.small", "availability-zone", b},
			{"t3.small", "region", region},
			{"t3.small", "availability-zone", b},
			{"t3.small", "availability-zone", a},
			{"t4g.small", "availability-zone", a},
			{"t4g.small", "availability-zone", b},
			{"m7i.large", "availability-zone", a},
		},
		Quotas: map[string]float64{"L-1216C47A": 32, "L-0263D0A3": 5, "L-F678F1CE": 5},
	}
}

// Start serves the account and points this process's AWS SDK to it through environment variables.
func (a *Account) Start(t *testing.T) {
	t.Helper()
	for name, value := range a.Serve(t.Cleanup) {
		t.Setenv(name, value)
	}
}

// Serve serves the account until the test ends, and returns the environment variables that point an AWS SDK to it.
func (a *Account) Serve(cleanup func(func())) map[string]string {
	server := httptest.NewServer(a)
	cleanup(server.Close)
	return map[string]string{
		"AWS_ENDPOINT_URL_EC2": server.URL, "AWS_ENDPOINT_URL_STS": server.URL, "AWS_ENDPOINT_URL_SERVICE_QUOTAS": server.URL,
		"AWS_ACCESS_KEY_ID": "AKIAFAKE", "AWS_SECRET_ACCESS_KEY": "fake", "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_MAX_ATTEMPTS": "1",
	}
}

// Asked lists the IAM actions that were called, sorted.
func (a *Account) Asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.asked)
	return slices.Compact(slices.Clone(a.asked))
}

func (a *Account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if target, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "ServiceQuotasV20190624."); ok {
		a.serviceQuotas(w, r, target)
		return
	}
	action := r.FormValue("Action")
	service := "ec2:"
	if action == "GetCallerIdentity" {
		service = "sts:"
	}
	code := a.refuses(service+action, r)
	if service == "sts:" {
		sts(w, code)
		return
	}
	if code != "" {
		ec2Error(w, code)
		return
	}
	f := filters{r: r}
	name, items := a.describe(action, &f)
	if f.unknown != "" || name == "" {
		ec2Error(w, "InvalidParameterValue") // an unknown filter must not match by accident
		return
	}
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><%[1]sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>fake</requestId>`, action)
	if paged(action) && r.FormValue("NextToken") == "" {
		fmt.Fprintf(w, `<%s/><nextToken>more</nextToken>`, name) // EC2 sometimes returns an empty page, too
	} else if err := xml.NewEncoder(w).EncodeElement(struct {
		Item any `xml:"item"`
	}{items}, xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
		panic(err)
	}
	fmt.Fprintf(w, `</%sResponse>`, action)
}

func paged(action string) bool {
	return action == "DescribeInstanceTypes" || action == "DescribeInstanceTypeOfferings" || action == "DescribeInstances"
}

// refuses records a call and returns the error code to answer with, if any.
func (a *Account) refuses(action string, r *http.Request) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, action)
	if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIA") {
		return "MissingAuthenticationToken"
	}
	return a.Refuse[action]
}

func sts(w http.ResponseWriter, code string) {
	if code != "" {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>refused by the fake</Message></Error><RequestId>fake</RequestId></ErrorResponse>`, code)
		return
	}
	fmt.Fprint(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/troop</Arn><UserId>AIDAFAKE</UserId><Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata></GetCallerIdentityResponse>`)
}

func ec2Error(w http.ResponseWriter, code string) {
	status := http.StatusBadRequest
	if code == "UnauthorizedOperation" {
		status = http.StatusForbidden
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>%s</Code><Message>refused by the fake</Message></Error></Errors><RequestID>fake</RequestID></Response>`, code)
}

func (a *Account) serviceQuotas(w http.ResponseWriter, r *http.Request, target string) {
	code := a.refuses("servicequotas:"+target, r)
	var in struct{ ServiceCode, QuotaCode string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		code = "SerializationException"
	}
	value, ok := a.Quotas[in.QuotaCode]
	if code == "" && !ok {
		code = "NoSuchResourceException"
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if code != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":"refused by the fake"}`, code)
		return
	}
	fmt.Fprintf(w, `{"Quota":{"ServiceCode":%q,"QuotaCode":%q,"Value":%g,"Unit":"None"}}`, in.ServiceCode, in.QuotaCode, value)
}

// describe returns the name of a result set and its items.
func (a *Account) describe(action string, f *filters) (set string, items any) {
	switch action {
	case "DescribeRegions":
		return "regionInfo", a.Regions
	case "DescribeAvailabilityZones":
		return "availabilityZoneInfo", keep(f, a.Zones, func(z Zone) fields { return fields{"opt-in-status": z.OptIn, "state": z.State} })
	case "DescribeVpcs":
		return "vpcSet", a.VPCs
	case "DescribeSubnets":
		return "subnetSet", keep(f, a.Subnets, func(s Subnet) fields { return fields{"subnet-id": s.ID} })
	case "DescribeAddresses":
		return "addressesSet", a.Addresses
	case "DescribeImages":
		owner := f.r.FormValue("Owner.1")
		return "imagesSet", keep(f, slices.DeleteFunc(slices.Clone(a.Images), func(i Image) bool { return owner != "" && i.Owner != owner }),
			func(i Image) fields { return fields{"image-id": i.ID, "name": i.Name} })
	case "DescribeInstanceTypes":
		return "instanceTypeSet", keep(f, a.Types, func(t Type) fields { return fields{"instance-type": t.Name} })
	case "DescribeInstanceTypeOfferings":
		kind := f.r.FormValue("LocationType")
		return "instanceTypeOfferingSet", keep(f, slices.DeleteFunc(slices.Clone(a.Offerings), func(o Offering) bool { return o.Kind != kind }),
			func(o Offering) fields { return fields{"instance-type": o.Type, "location": o.Zone} })
	case "DescribeKeyPairs":
		keys := keep(f, a.Keys, func(k Key) fields { return tagged(k.Tags, nil) })
		if f.r.FormValue("IncludePublicKey") != "true" {
			keys = slices.Clone(keys)
			for i := range keys {
				keys[i].Public = ""
			}
		}
		return "keySet", keys
	case "DescribeInstances":
		return "reservationSet", []struct {
			Instances []Instance `xml:"instancesSet>item"`
		}{{keep(f, a.Instances, func(i Instance) fields { return tagged(i.Tags, fields{"instance-state-name": i.State}) })}}
	}
	return "", nil
}

// fields are the values that a request's filters match.
type fields map[string]string

func tagged(tags []Tag, f fields) fields {
	all := fields{}
	for _, t := range tags {
		all["tag:"+t.Key] = t.Value
	}
	maps.Copy(all, f)
	return all
}

type filters struct {
	r       *http.Request
	unknown string // a filter that no resource supports
}

func keep[T any](f *filters, all []T, of func(T) fields) []T {
	var kept []T
	for _, thing := range all {
		if f.match(of(thing)) {
			kept = append(kept, thing)
		}
	}
	return kept
}

func (f *filters) match(thing fields) bool {
	for n := 1; ; n++ {
		name := f.r.FormValue(fmt.Sprintf("Filter.%d.Name", n))
		if name == "" {
			return true
		}
		value, ok := thing[name]
		if !ok && !strings.HasPrefix(name, "tag:") {
			f.unknown = name
		}
		if !ok || !f.matches(n, value) {
			return false
		}
	}
}

// matches reports whether one of the n-th filter's values, which may contain *, matches the value.
func (f *filters) matches(n int, value string) bool {
	for m := 1; ; m++ {
		pattern := f.r.FormValue(fmt.Sprintf("Filter.%d.Value.%d", n, m))
		if pattern == "" {
			return false
		}
		// In path.Match, * does not match slashes; in EC2 it does.
		flat := strings.NewReplacer("/", "|")
		if ok, err := path.Match(flat.Replace(pattern), flat.Replace(value)); err == nil && ok {
			return true
		}
	}
}
