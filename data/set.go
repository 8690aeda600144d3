package data

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Set is a training and a test set that belong together: images of the same
// size, the same classes.
type Set struct {
	// Name is for people: "Fashion-MNIST".
	Name string
	// Train is for learning, Test for judging what was learnt.
	Train, Test *Dataset
	// Source says where the set came from, for people: the folder, or the
	// address and the folder that it was downloaded to.
	Source string
	// Synthetic says that the images were drawn by a program.
	Synthetic bool
}

// Open reads a set of four IDX files from a folder, without verifying what it
// is: images of uint8, (N, H, W) or (N, C, H, W), of any size, and their
// labels, one uint8 each. The files are named as those of MNIST are, plain or
// compressed; a word in front, as in emnist-letters-train-images-idx3-ubyte.gz,
// and "test" in place of "t10k" are understood. A subfolder raw is looked into.
//
// The classes are called by the names given. If none are, they are numbers from
// 0 to the largest label. Errors wrap [ErrNotInDir] if the files are not
// there, [ErrFormat] or [ErrDataset] if they are not what they should be.
func Open(dir string, classes ...string) (*Set, error) {
	paths, err := locate(dir)
	if err != nil {
		return nil, err
	}
	var arrays [4]*Array
	err = parallel(func(i int) (err error) {
		arrays[i], err = readIDXFile(paths[i], MaxSize, nil)
		return err
	}, trainImages, trainLabels, testImages, testLabels)
	if err != nil {
		return nil, err
	}
	if len(classes) == 0 {
		classes = numbers(arrays[trainLabels], arrays[testLabels])
	}
	return assemble(filepath.Base(filepath.Clean(dir)), dir, paths, arrays, slices.Clone(classes))
}

// locate returns the paths of the one set in dir, or in its subfolder raw.
func locate(dir string) (paths [4]string, err error) {
	missing := &NotInDirError{Dir: dir, Lacks: partFiles[:]}
	for _, folder := range []string{dir, filepath.Join(dir, "raw")} {
		found, err := scan(folder)
		if err != nil {
			if folder == dir {
				return paths, &NotInDirError{Dir: dir, Err: err}
			}
			continue
		}
		var complete []string
		for _, word := range slices.Sorted(maps.Keys(found)) {
			if lacks := found[word].lacking(); len(lacks) == 0 {
				complete = append(complete, word)
			} else if len(lacks) < len(missing.Lacks) {
				missing.Lacks = lacks
			}
		}
		if len(complete) > 1 && complete[0] != "" {
			return paths, fmt.Errorf("%w: %s holds several, called %s: move the files of one to a folder of their own",
				ErrNotInDir, folder, strings.Join(complete, ", "))
		}
		if len(complete) > 0 {
			for i, c := range found[complete[0]] {
				paths[i] = c[0]
			}
			return paths, nil
		}
	}
	missing.Holds = listing(dir)
	return paths, missing
}

// numbers names as many classes as the largest label asks for, at least two.
func numbers(labels ...*Array) []string {
	largest := byte(1)
	for _, a := range labels {
		if b, _ := a.Bytes(); len(b) > 0 {
			largest = max(largest, slices.Max(b))
		}
	}
	var classes []string
	for i := range int(largest) + 1 {
		classes = append(classes, strconv.Itoa(i))
	}
	return classes
}

// parallel runs f for each of some parts at once. It returns the error of the
// first of them that has one.
func parallel(f func(part int) error, parts ...int) error {
	errs := make([]error, len(parts))
	done := make(chan struct{})
	for k, part := range parts {
		go func() {
			errs[k] = f(part)
			done <- struct{}{}
		}()
	}
	for range parts {
		<-done
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// assemble makes a set of its four arrays, read from paths.
func assemble(name, source string, paths [4]string, arrays [4]*Array, classes []string) (*Set, error) {
	s := &Set{Name: name, Source: source}
	for _, half := range []struct {
		name    string
		dataset **Dataset
		images  int
	}{{"train", &s.Train, trainImages}, {"test", &s.Test, testImages}} {
		images, labels := arrays[half.images], arrays[half.images+1]
		imagesPath, labelsPath := paths[half.images], paths[half.images+1]
		if err := checkKind(imagesPath, "images", images, 3, 4); err != nil {
			return nil, err
		}
		if err := checkKind(labelsPath, "labels", labels, 1); err != nil {
			return nil, err
		}
		if images.Shape[0] != labels.Shape[0] {
			return nil, &FormatError{File: labelsPath, Offset: 4, What: "number of labels",
				Want: fmt.Sprintf("%d, as many as there are images in %s", images.Shape[0], imagesPath), Found: strconv.Itoa(labels.Shape[0])}
		}
		pixels, _ := images.Bytes()
		labelOf, _ := labels.Bytes()
		for i, l := range labelOf {
			if int(l) >= len(classes) {
				return nil, &FormatError{File: labelsPath, Offset: int64(8 + i), What: fmt.Sprintf("label %d", i),
					Want: fmt.Sprintf("a class from 0 to %d", len(classes)-1), Found: strconv.Itoa(int(l))}
			}
		}
		size := images.Shape[1:]
		if len(size) == 2 {
			size = []int{1, size[0], size[1]}
		}
		d, err := NewDataset(name+" "+half.name, pixels, labelOf, size[0], size[1], size[2], classes)
		if err != nil {
			return nil, fmt.Errorf("%w (in %s)", err, imagesPath)
		}
		*half.dataset = d
	}
	if a, b := s.Train, s.Test; a.Channels != b.Channels || a.Height != b.Height || a.Width != b.Width {
		return nil, &FormatError{File: paths[testImages], Offset: 8, What: "size of the images",
			Want:  fmt.Sprintf("%dx%dx%d as in %s", a.Channels, a.Height, a.Width, paths[trainImages]),
			Found: fmt.Sprintf("%dx%dx%d", b.Channels, b.Height, b.Width)}
	}
	return s, nil
}

// checkKind makes sure that an array is of uint8 and has one of some ranks.
func checkKind(path, what string, a *Array, ranks ...int) error {
	if a.Type() != Uint8 {
		return &FormatError{File: path, Offset: 2, What: "element type of the " + what, Want: Uint8.String(), Found: a.Type().String()}
	}
	if !slices.Contains(ranks, len(a.Shape)) {
		return &FormatError{File: path, Offset: 3, What: "number of dimensions of the " + what,
			Want: strings.Trim(strings.ReplaceAll(fmt.Sprint(ranks), " ", " or "), "[]"), Found: strconv.Itoa(len(a.Shape))}
	}
	return nil
}
