// Package atomicfile writes files that are never there by half.
package atomicfile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write writes a file under a temporary name in the folder of path, and renames
// it when it is whole and on the disk. There is never half a file under path,
// nor a mixture of two when several processes write it, and an older file stays
// until then. The error names path; what was begun is removed.
func Write(path string, write func(io.Writer) error) error {
	name, err := Prepare(path, write)
	if err != nil {
		return err
	}
	if err := os.Rename(name, path); err != nil {
		os.Remove(name)
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// Prepare does what [Write] does but for the renaming: it returns the temporary
// name, for a caller that has something to do in between.
func Prepare(path string, write func(io.Writer) error) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	if err := write(f); err != nil {
		return "", err
	}
	if err := f.Chmod(0o644); err != nil { // CreateTemp makes it for the owner only
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
