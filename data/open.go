package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNotInDir is wrapped by the error about a folder that was named and does
// not hold the set.
var ErrNotInDir = errors.New("data: the folder does not hold the set")

// A Set is a training and a test set that belong together.
type Set struct {
	Name        string // "Fashion-MNIST"
	Train, Test *Dataset
	Source      string // where it came from, for people
	Synthetic   bool
}

// The four files of a set, by the names that Yann LeCun gave them.
var setFiles = [4]string{
	"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
	"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
}

// find returns the path of one of the files in dir, which may be plain, end in
// .gz, or be written with a dot as in "train-images.idx3-ubyte"; "" if none.
func find(dir, file string) string {
	dotted := strings.Replace(strings.Replace(file, "-idx3", ".idx3", 1), "-idx1", ".idx1", 1)
	for _, name := range []string{file, file + ".gz", dotted, dotted + ".gz"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// locate returns the paths of the four files in dir or in one of the subfolders
// that common tools make, or an error wrapping [ErrNotInDir].
func locate(dir string, subfolders ...string) (paths [4]string, err error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if err == nil {
			return paths, fmt.Errorf("%w: %s is not a folder", ErrNotInDir, dir)
		}
		return paths, fmt.Errorf("%w: %w", ErrNotInDir, err)
	}
	var missing []string
	for _, sub := range append([]string{""}, subfolders...) {
		var lacking []string
		for i, file := range setFiles {
			if paths[i] = find(filepath.Join(dir, sub), file); paths[i] == "" {
				lacking = append(lacking, file)
			}
		}
		if len(lacking) == 0 {
			return paths, nil
		}
		if missing == nil || len(lacking) < len(missing) {
			missing = lacking
		}
	}
	return paths, fmt.Errorf("%w: %s lacks %s (plain or .gz); it holds %s", ErrNotInDir, dir, strings.Join(missing, ", "), listing(dir))
}

// listing names what a folder holds, at most a dozen entries.
func listing(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		if len(names) == 12 {
			names = append(names, fmt.Sprintf("and %d more", len(entries)-12))
			break
		}
		names = append(names, name)
	}
	if names == nil {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// Open reads any set of four IDX files named like MNIST's from a folder, of
// any image size and any number of classes up to 256, without verifying what
// it is. A label file decides the number of classes by its largest label. The
// error wraps [ErrNotInDir], [ErrFormat] or [ErrDataset].
func Open(dir string) (*Set, error) {
	paths, err := locate(dir)
	if err != nil {
		return nil, err
	}
	arrays, err := readAll(paths, nil)
	if err != nil {
		return nil, err
	}
	var classes []string
	for _, i := range []int{1, 3} {
		labels, ok := arrays[i].Bytes()
		if !ok {
			return nil, fmt.Errorf("%w: %s: want labels of uint8, found %T", ErrDataset, paths[i], arrays[i].Data)
		}
		for _, l := range labels {
			for len(classes) <= int(l) {
				classes = append(classes, strconv.Itoa(len(classes)))
			}
		}
	}
	for len(classes) < 2 {
		classes = append(classes, strconv.Itoa(len(classes)))
	}
	return assemble(filepath.Base(dir), dir, paths, arrays, classes)
}

// readAll reads the four files, two at a time; check, if there is one, sees
// the SHA-256 of each file's decompressed content.
func readAll(paths [4]string, check func(i int, sum string) error) (arrays [4]*Array, err error) {
	var errs [4]error
	read := func(i int) {
		f, err := os.Open(paths[i])
		if err != nil {
			errs[i] = fmt.Errorf("data: %w", err)
			return
		}
		defer f.Close()
		sum := newSum()
		arrays[i], errs[i] = readIDX(f, paths[i], sum)
		if errs[i] == nil && check != nil {
			errs[i] = check(i, fmt.Sprintf("%x", sum.Sum(nil)))
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, i := range []int{1, 2, 3} {
			read(i)
		}
	}()
	read(0)
	<-done
	return arrays, errors.Join(errs[:]...)
}

// assemble makes a set of its four arrays.
func assemble(name, source string, paths [4]string, arrays [4]*Array, classes []string) (*Set, error) {
	s := &Set{Name: name, Source: source}
	for k, part := range []string{"train", "test"} {
		images, labels := arrays[2*k], arrays[2*k+1]
		pixels, ok := images.Bytes()
		if !ok || len(images.Shape) != 3 && len(images.Shape) != 4 {
			return nil, fmt.Errorf("%w: %s: want images of uint8 with 3 or 4 dimensions, found %T of %v", ErrDataset, paths[2*k], images.Data, images.Shape)
		}
		classOf, ok := labels.Bytes()
		if !ok || len(labels.Shape) != 1 {
			return nil, fmt.Errorf("%w: %s: want labels of uint8 with 1 dimension, found %T of %v", ErrDataset, paths[2*k+1], labels.Data, labels.Shape)
		}
		channels, size := 1, images.Shape[1:]
		if len(size) == 3 {
			channels, size = size[0], size[1:]
		}
		d, err := NewDataset(name+" "+part, pixels, classOf, channels, size[0], size[1], classes)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", paths[2*k], filepath.Base(paths[2*k+1]), err)
		}
		if k == 0 {
			s.Train = d
		} else {
			s.Test = d
		}
	}
	if a, b := s.Train, s.Test; a.Channels != b.Channels || a.Height != b.Height || a.Width != b.Width {
		return nil, fmt.Errorf("%w: %s: training images of %dx%dx%d, test images of %dx%dx%d", ErrDataset, source,
			a.Channels, a.Height, a.Width, b.Channels, b.Height, b.Width)
	}
	return s, nil
}
