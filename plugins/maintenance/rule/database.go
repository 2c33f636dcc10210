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

// database returns the kind of database whose data folder holds these names, and the names that show it; empty when it
// is none.
func database(names []string) (kind, shown string) {
	for _, d := range databases {
		var found []string
		for _, pattern := range d.files {
			for _, n := range names {
				if ok, err := path.Match(pattern, strings.ToLower(n)); ok && err == nil {
					found = append(found, n)
					break
				}
			}
		}
		if len(found) == len(d.files) {
			return d.name, strings.Join(found, ", ")
		}
	}
	return "", ""
}
