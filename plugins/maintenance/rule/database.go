package rule

import (
	"path"
	"strings"
)

// databases are kinds of data folders, by the files that lie in each of them together: one that matches each pattern,
// of path.Match in lower case. Their write-ahead logs are often called *.log.
var databases = []struct {
	name  string
	files []string
}{
	{"LevelDB or RocksDB", []string{"current", "manifest-[0-9]*"}},
	{"LevelDB or RocksDB", []string{"lock", "*.ldb"}},
	{"LevelDB or RocksDB", []string{"lock", "*.sst"}},
	{"Kafka", []string{"*.index", "*.timeindex"}},
	{"Kafka", []string{"leader-epoch-checkpoint"}},
	{"Kafka", []string{"*-checkpoint", "meta.properties"}},
	{"Cassandra", []string{"commitlog-[0-9]*.log"}},
	{"Cassandra", []string{"*-data.db", "*-index.db"}},
	{"HSQLDB", []string{"*.script", "*.properties"}},
	{"Derby", []string{"service.properties", "*.lck"}},
	{"Bitcask", []string{"*.bitcask.data"}},
	{"Bitcask", []string{"bitcask.write.lock"}},
	{"Lucene", []string{"segments_*", "write.lock"}},
	{"ZooKeeper", []string{"log.[0-9a-f]*", "snapshot.[0-9a-f]*"}},
	{"WiredTiger", []string{"wiredtiger"}},
	{"PostgreSQL", []string{"pg_version"}},
	{"MySQL or MariaDB", []string{"ibdata1"}},
	{"MySQL or MariaDB", []string{"aria_log_control"}},
	{"LMDB", []string{"data.mdb", "lock.mdb"}},
	{"Redis", []string{"appendonly.aof*"}},
	{"InfluxDB", []string{"*.tsm"}},
	{"Prometheus", []string{"chunks_head"}},
	{"Berkeley DB", []string{"__db.0*"}},
}

// signs are the patterns of each kind of database that names of a folder match, as bits.
type signs []uint8

func (s signs) add(name string) {
	name = strings.ToLower(name)
	for k, d := range databases {
		for i, pattern := range d.files {
			if ok, err := path.Match(pattern, name); ok && err == nil {
				s[k] |= 1 << i
			}
		}
	}
}

// kind returns the kind of database whose data folder it is, and what shows it; empty when it is none. It has no names, of
// which anybody may make any number: it is a reason for people, told once.
func (s signs) kind() string {
	for k, d := range databases {
		if s[k] == 1<<len(d.files)-1 {
			return d.name + " (" + strings.Join(d.files, ", ") + ")"
		}
	}
	return ""
}
