package data

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tiny is a source of a few images, with its files as a server has them, by
// their paths there.
func tiny(t testing.TB) (*source, map[string][]byte) {
	t.Helper()
	t.Setenv(EnvDir, "")
	set := SyntheticDigits(30, 20, 1)
	s := mnist
	s.name, s.system = "Tiny", nil
	files := map[string][]byte{}
	for i, a := range []*Array{
		{[]int{30, 28, 28}, set.Train.Images}, {[]int{30}, set.Train.Labels},
		{[]int{20, 28, 28}, set.Test.Images}, {[]int{20}, set.Test.Labels},
	} {
		raw := idx(t, a)
		s.sums[i] = fmt.Sprintf("%x", sha256.Sum256(raw))
		files["/"+partFiles[i]+".gz"] = zipped(raw)
	}
	return &s, files
}

// quick makes the limits of a download fit for a test.
func quick(o *options) {
	o.limits.header, o.limits.stall = 200*time.Millisecond, 200*time.Millisecond
	o.limits.tries, o.limits.pause = 1, time.Millisecond
}

// lay puts files into a folder; name says how each is called, without .gz if
// it is not compressed.
func lay(t testing.TB, files map[string][]byte, dir string, name func(part int) string) {
	t.Helper()
	for part, file := range partFiles {
		a, err := ReadIDX(strings.NewReader(string(files["/"+file+".gz"])))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name(part))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := WriteIDXFile(path, a); err != nil {
			t.Fatal(err)
		}
	}
}

func plain(part int) string { return partFiles[part] }

func TestLayouts(t *testing.T) {
	s, files := tiny(t)
	for name, f := range map[string]func(part int) string{
		"plain":            plain,
		"compressed":       func(part int) string { return partFiles[part] + ".gz" },
		"mixed":            func(part int) string { return partFiles[part] + []string{"", ".gz"}[part%2] },
		"dots":             func(part int) string { return strings.Replace(partFiles[part], "-idx", ".idx", 1) },
		"all dots":         func(part int) string { return strings.ReplaceAll(partFiles[part], "-", ".") + ".gz" },
		"folder per file":  func(part int) string { return filepath.Join(partFiles[part], partFiles[part]) },
		"torchvision":      func(part int) string { return filepath.Join("MNIST", "raw", partFiles[part]) },
		"torchvision, raw": func(part int) string { return filepath.Join("raw", partFiles[part]) },
		"in the cache":     func(part int) string { return filepath.Join("mnist", partFiles[part]+".gz") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			lay(t, files, dir, f)
			for how, opts := range map[string][]Option{
				"named":  {Dir(dir)},
				"search": {CacheDir(t.TempDir()), SearchDirs("/nowhere/at/all", dir), Offline()},
			} {
				set, err := s.load(context.Background(), opts)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if set.Train.Len() != 30 || set.Test.Len() != 20 || set.Synthetic || !strings.HasPrefix(set.Source, dir) {
					t.Errorf("%s: %+v", how, set)
				}
			}
			t.Setenv(EnvDir, dir)
			if _, err := s.load(context.Background(), nil); err != nil {
				t.Errorf("named by %s: %v", EnvDir, err)
			}
		})
	}
}

// TestNamedFolder: a folder that was named is the only place that is looked at.
func TestNamedFolder(t *testing.T) {
	s, files := tiny(t)
	cache := t.TempDir()
	lay(t, files, filepath.Join(cache, "mnist"), plain)
	lacking := t.TempDir()
	lay(t, files, lacking, plain)
	if err := os.Remove(filepath.Join(lacking, partFiles[testLabels])); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir  string
		want []string
	}{
		"lacking": {lacking, []string{lacking, "want " + partFiles[testLabels] + ",", "found " + partFiles[testImages] + ", train"}},
		"missing": {filepath.Join(lacking, "nowhere"), []string{"nowhere", "no such file"}},
		"not one": {filepath.Join(lacking, partFiles[0]), []string{partFiles[0]}},
		"empty":   {t.TempDir(), []string{"an empty folder", partFiles[trainImages]}},
		"a partial": {func() string {
			dir := t.TempDir()
			os.WriteFile(filepath.Join(dir, "."+partFiles[0]+".gz.partial"), nil, 0o644)
			return dir
		}(), []string{"want " + strings.Join(partFiles[:], ", ")}},
	} {
		for _, by := range []string{"option Dir", EnvDir} {
			opts := []Option{CacheDir(cache)}
			t.Setenv(EnvDir, c.dir)
			if by == "option Dir" {
				t.Setenv(EnvDir, cache) // the option goes first
				opts = append(opts, Dir(c.dir))
			}
			_, err := s.load(context.Background(), opts)
			if !errors.Is(err, ErrNotInDir) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: %v, want ErrNotInDir", name, err)
				continue
			}
			for _, want := range append(c.want, "Tiny", by) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v; want one that mentions %q", name, err, want)
				}
			}
		}
	}
	t.Setenv(EnvDir, "")
	if _, err := s.load(context.Background(), []Option{Dir(""), CacheDir(cache)}); err != nil {
		t.Errorf("no folder is named, and the cache has it: %v", err)
	}
}

func TestContent(t *testing.T) {
	s, files := tiny(t)
	good := t.TempDir()
	lay(t, files, good, func(part int) string { return partFiles[part] + ".gz" })

	t.Run("another set", func(t *testing.T) {
		_, err := fashionMNIST.load(context.Background(), []Option{Dir(good)})
		var c *ContentError
		if !errors.As(err, &c) || !errors.Is(err, ErrWrongContent) || errors.Is(err, ErrUnavailable) {
			t.Fatalf("%v, want a ContentError", err)
		}
		if c.FoundSum != s.sums[trainLabels] || c.WantSum != fashionMNIST.sums[trainLabels] || c.Found != "something else" || filepath.Dir(c.File) != good {
			t.Errorf("%+v", c)
		}
	})
	t.Run("a known set is called by its name", func(t *testing.T) {
		sum := make([]byte, 32)
		if _, err := fmt.Sscanf(mnist.sums[testImages], "%x", &sum); err != nil {
			t.Fatal(err)
		}
		err := fashionMNIST.verify(trainImages, "x", sum)
		if err == nil || !strings.Contains(err.Error(), "want the training images of Fashion-MNIST") || !strings.Contains(err.Error(), "found the test images of MNIST") {
			t.Error(err)
		}
	})
	t.Run("a bad copy beside a good one", func(t *testing.T) {
		dir := t.TempDir()
		lay(t, files, dir, func(part int) string { return partFiles[part] + ".gz" })
		if err := os.WriteFile(filepath.Join(dir, partFiles[trainImages]), []byte("cut off"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.load(context.Background(), []Option{Dir(dir)}); err != nil {
			t.Error(err)
		}
	})
	t.Run("another set above a good one", func(t *testing.T) {
		dir := t.TempDir()
		lay(t, files, filepath.Join(dir, "MNIST", "raw"), plain)
		for _, file := range partFiles {
			if err := WriteIDXFile(filepath.Join(dir, file), &Array{Shape: []int{1}, Data: []byte{1}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.load(context.Background(), []Option{Dir(dir)}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a broken file", func(t *testing.T) {
		dir := t.TempDir()
		lay(t, files, dir, plain)
		path := filepath.Join(dir, partFiles[testImages])
		if err := os.Truncate(path, 1000); err != nil {
			t.Fatal(err)
		}
		_, err := s.load(context.Background(), []Option{Dir(dir)})
		var f *FormatError
		if !errors.As(err, &f) || f.File != path || f.Offset != 1000 {
			t.Errorf("%v, want a FormatError at offset 1000 of %s", err, path)
		}
	})
	t.Run("more than such a file can hold", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "bomb")
		if err := os.WriteFile(path, zipped(make([]byte, knownLimit+1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.verifyFile(0, path); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "at most") {
			t.Error(err)
		}
	})
}

func TestUnavailable(t *testing.T) {
	s, _ := tiny(t)
	cache := t.TempDir()
	if err := os.Mkdir(filepath.Join(cache, "mnist"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := s.load(context.Background(), []Option{CacheDir(cache), SearchDirs("/nowhere/at/all"), Offline()})
	var u *UnavailableError
	if !errors.As(err, &u) || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotInDir) {
		t.Fatalf("%v, want an UnavailableError that is no ErrNotInDir", err)
	}
	if len(u.Tried) != 3 {
		t.Errorf("%d attempts, want the cache, the folder and the download", len(u.Tried))
	}
	for _, want := range []string{"Tiny", filepath.Join(cache, "mnist") + ": lacks train-images", "/nowhere/at/all: no such folder", "download: not allowed", EnvDir, partFiles[testLabels] + ".gz"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not mention %q", err, want)
		}
	}
	t.Run("no home", func(t *testing.T) {
		for _, v := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData", "USERPROFILE", "home"} {
			t.Setenv(v, "")
		}
		_, err := s.load(context.Background(), []Option{SearchDirs("~/x"), Mirrors("http://127.0.0.1:1")})
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "cache directory") {
			t.Error(err)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, f := range []func(context.Context, ...Option) (*Set, error){FashionMNIST, MNIST} {
			if _, err := f(ctx, Offline()); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%v, want context.Canceled", err)
			}
		}
	})
}

func TestOpen(t *testing.T) {
	_, files := tiny(t)
	for name, f := range map[string]func(part int) string{
		"plain": plain,
		"raw":   func(part int) string { return filepath.Join("raw", partFiles[part]+".gz") },
		"a word in front": func(part int) string {
			return "emnist-digits-" + strings.Replace(partFiles[part], "t10k", "test", 1) + ".gz"
		},
	} {
		dir := filepath.Join(t.TempDir(), "letters")
		lay(t, files, dir, f)
		set, err := Open(dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if set.Name != "letters" || set.Train.Len() != 30 || len(set.Train.Classes) != 10 || set.Test.Classes[9] != "9" {
			t.Errorf("%s: %s, %d images, classes %v", name, set.Name, set.Train.Len(), set.Train.Classes)
		}
	}
	dir := t.TempDir()
	lay(t, files, dir, func(part int) string { return "a-" + partFiles[part] })
	lay(t, files, dir, func(part int) string { return "b-" + partFiles[part] })
	if _, err := Open(dir); !errors.Is(err, ErrNotInDir) || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("two sets: %v", err)
	}
	lay(t, files, dir, plain)
	if _, err := Open(dir); err != nil {
		t.Errorf("two sets beside one of the usual names: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNotInDir) || !strings.Contains(err.Error(), "an empty folder") {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "no")); !errors.Is(err, ErrNotInDir) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	images := &Array{[]int{2, 28, 28}, make([]byte, 2*28*28)}
	labels := &Array{[]int{2}, []byte{1, 2}}
	for name, c := range map[string]struct {
		images, labels *Array // for training
		classes        []string
		file           int
		offset         int64
		want, found    string
	}{
		"counts differ":        {images, &Array{[]int{3}, []byte{1, 2, 3}}, nil, trainLabels, 4, "2, as many as there are images", "3"},
		"labels of int32":      {images, &Array{[]int{2}, []int32{1, 2}}, nil, trainLabels, 2, "uint8", "int32"},
		"labels of rank 2":     {images, &Array{[]int{2, 1}, []byte{1, 2}}, nil, trainLabels, 3, "1", "2"},
		"images of float32":    {&Array{[]int{2, 1, 1}, []float32{1, 2}}, labels, nil, trainImages, 2, "uint8", "float32"},
		"images of rank 2":     {&Array{[]int{2, 784}, make([]byte, 2*784)}, labels, nil, trainImages, 3, "3 or 4", "2"},
		"sizes differ":         {&Array{[]int{2, 14, 14}, make([]byte, 2*196)}, labels, nil, testImages, 8, "1x14x14", "1x28x28"},
		"label out of range":   {images, &Array{[]int{2}, []byte{1, 3}}, []string{"a", "b", "c"}, trainLabels, 9, "a class from 0 to 2", "3"},
		"files interchanged":   {labels, images, nil, trainImages, 3, "3 or 4", "1"},
		"channels are counted": {&Array{[]int{2, 3, 28, 28}, make([]byte, 2*3*784)}, labels, nil, testImages, 8, "3x28x28", "1x28x28"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, a := range []*Array{c.images, c.labels, {[]int{1, 28, 28}, make([]byte, 28*28)}, {[]int{1}, []byte{0}}} {
				if err := WriteIDXFile(filepath.Join(dir, partFiles[i]), a); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(dir, c.classes...)
			var f *FormatError
			if !errors.As(err, &f) {
				t.Fatalf("%v, want a FormatError", err)
			}
			if filepath.Base(f.File) != partFiles[c.file] || f.Offset != c.offset || !strings.Contains(f.Want, c.want) || f.Found != c.found {
				t.Errorf("%v; want one about %s at offset %d that wants %s, found %s", err, partFiles[c.file], c.offset, c.want, c.found)
			}
		})
	}
	t.Run("no pixels", func(t *testing.T) {
		dir := t.TempDir()
		for i, a := range []*Array{{[]int{1, 0, 28}, []byte{}}, {[]int{1}, []byte{0}}, images, labels} {
			if err := WriteIDXFile(filepath.Join(dir, partFiles[i]), a); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(dir); !errors.Is(err, ErrDataset) || !strings.Contains(err.Error(), partFiles[trainImages]) {
			t.Error(err)
		}
	})
}
