//go:build !amd64 || noasm

package kernel

// available lists the sets that this build can run.
func available() []*Set { return []*Set{Generic} }
