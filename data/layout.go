package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ErrNotInDir is wrapped by the errors about a folder that was named and does
// not hold a set.
var ErrNotInDir = errors.New("data: the folder does not hold the set")

// A NotInDirError says what a folder lacks and what it holds instead. It wraps
// [ErrNotInDir] and, if there is one, its cause: [io/fs.ErrNotExist] for a
// folder that does not exist, for example.
type NotInDirError struct {
	Set   string   // the name of the set; empty for any
	Dir   string   // the folder
	Lacks []string // the files that are missing, where most of them are there
	Holds string   // what it holds, for people
	Err   error    // why it could not be read, or nil
}

// Error returns one line with all of it.
func (e *NotInDirError) Error() string {
	set := e.Set
	if set == "" {
		set = "a set of IDX files"
	}
	if e.Err != nil {
		return fmt.Sprintf("data: %s does not hold %s: %v", e.Dir, set, e.Err)
	}
	return fmt.Sprintf("data: %s does not hold %s: want %s, plain or .gz; found %s", e.Dir, set, strings.Join(e.Lacks, ", "), e.Holds)
}

// Unwrap returns [ErrNotInDir] and the cause.
func (e *NotInDirError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrNotInDir}
	}
	return []error{ErrNotInDir, e.Err}
}

// The parts of a set, in the order in which all arrays of four here hold them.
const (
	trainImages = iota
	trainLabels
	testImages
	testLabels
)

// partNames names the parts for people.
var partNames = [4]string{"training images", "training labels", "test images", "test labels"}

// partFiles names their files as Yann LeCun did.
var partFiles = [4]string{
	"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
	"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
}

// filePattern matches the names that the files of a set go by: with dots in
// place of dashes (train-images.idx3-ubyte), of another rank (idx4 for images
// in colour), with a word in front (emnist-letters-train-images-idx3-ubyte),
// compressed. Submatches: the word in front, the half, the kind, ".gz".
var filePattern = regexp.MustCompile(`(?i)^(?:(.+)[-_.])?(train|t10k|test)[-_.](images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$`)

// candidates are the paths at which each part of a set may lie, the plain ones
// first. There may be several: a folder often holds train-images-idx3-ubyte
// and train-images-idx3-ubyte.gz.
type candidates [4][]string

// lacking names the parts without a path.
func (c *candidates) lacking() []string {
	var names []string
	for i, paths := range c {
		if len(paths) == 0 {
			names = append(names, partFiles[i])
		}
	}
	return names
}

// scan looks for sets in a folder, not in its subfolders. The result is by the
// word in front of the files' names, "" for none.
func scan(dir string) (map[string]*candidates, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[string]*candidates{}
	for _, entry := range entries { // in the order of their names: plain before .gz
		m := filePattern.FindStringSubmatch(entry.Name())
		if m == nil {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		info, err := os.Stat(path) // follows links
		if err == nil && info.IsDir() {
			// Some archives unpack to a folder for each file, both of one name.
			path = filepath.Join(path, entry.Name())
			info, err = os.Stat(path)
		}
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		part := trainImages
		if !strings.EqualFold(m[2], "train") {
			part = testImages
		}
		if strings.EqualFold(m[3], "labels") {
			part++
		}
		c := found[m[1]]
		if c == nil {
			c = &candidates{}
			found[m[1]] = c
		}
		c[part] = append(c[part], path)
	}
	for _, c := range found {
		for i := range c {
			slices.SortStableFunc(c[i], func(a, b string) int {
				return strings.Count(strings.ToLower(a), ".gz") - strings.Count(strings.ToLower(b), ".gz")
			})
		}
	}
	return found, nil
}

// listing names what a folder holds, at most a dozen entries.
func listing(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	var names []string
	for i, e := range entries {
		if i == 12 {
			names = append(names, fmt.Sprintf("and %d more", len(entries)-i))
			break
		}
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	if names == nil {
		return "an empty folder"
	}
	return strings.Join(names, ", ")
}
