package data

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put writes a picture of one colour.
func put(t testing.TB, path string, width, height int, c color.Color) {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			picture.Set(x, y, c)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	switch filepath.Ext(path) {
	case ".png":
		err = png.Encode(f, picture)
	case ".jpg":
		err = jpeg.Encode(f, picture, nil)
	case ".gif":
		err = gif.Encode(f, picture, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFromFolders(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "dark", "a.png"), 8, 6, color.Gray{10})
	put(t, filepath.Join(dir, "dark", "b.jpg"), 8, 6, color.Gray{20})
	put(t, filepath.Join(dir, "light", "c.gif"), 8, 6, color.Gray{255})
	put(t, filepath.Join(dir, "light", "d.png"), 8, 6, color.NRGBA{255, 0, 0, 255}) // red is 76 in grey
	if err := os.WriteFile(filepath.Join(dir, "light", ".hidden"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(name string, d *Dataset, err error, height, width int, want ...int) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.Height != height || d.Width != width || d.Channels != 1 || d.Len() != len(want) {
			t.Fatalf("%s: %d images of %dx%dx%d", name, d.Len(), d.Channels, d.Height, d.Width)
		}
		for i, w := range want {
			if got := int(d.Image(i)[width+1]); got < w-3 || got > w+3 {
				t.Errorf("%s: image %d has a pixel of %d, want about %d", name, i, got, w)
			}
		}
	}
	d, err := FromFolders(dir)
	check("as they are", d, err, 6, 8, 10, 20, 255, 76)
	if fmt.Sprint(d.Labels, d.Classes) != "[0 0 1 1] [dark light]" {
		t.Errorf("labels %v, classes %v", d.Labels, d.Classes)
	}
	d, err = FromFolders(dir, Inverted())
	check("inverted", d, err, 6, 8, 245, 235, 0, 179)
	d, err = FromFolders(dir, Scaled(4, 16))
	check("scaled", d, err, 4, 16, 10, 20, 255, 76)

	put(t, filepath.Join(dir, "light", "e.png"), 9, 6, color.Gray{30})
	d, err = FromFolders(dir, Scaled(6, 8))
	check("one scaled", d, err, 6, 8, 10, 20, 255, 76, 30)
	_, err = FromFolders(dir)
	for _, want := range []string{"e.png", "8x6", "9x6", "a.png", "Scaled"} {
		if !errors.Is(err, ErrDataset) || !strings.Contains(err.Error(), want) {
			t.Errorf("sizes differ: %v; want one that mentions %s", err, want)
		}
	}
}

func TestFromFoldersErrors(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string)
		opts []FolderOption
		want string
		is   error
	}{
		"no folder":     {func(t *testing.T, dir string) { os.RemoveAll(dir) }, nil, "no such file", os.ErrNotExist},
		"one class":     {func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, "b")) }, nil, "found 1 among a/", ErrDataset},
		"empty class":   {func(t *testing.T, dir string) { os.Mkdir(filepath.Join(dir, "c"), 0o755) }, nil, "an empty folder", ErrDataset},
		"not a picture": {func(t *testing.T, dir string) { os.WriteFile(filepath.Join(dir, "b", "n.txt"), []byte("hello"), 0o644) }, nil, "n.txt", ErrDataset},
		"cut off":       {func(t *testing.T, dir string) { os.Truncate(filepath.Join(dir, "b", "1.png"), 60) }, nil, "1.png", ErrDataset},
		"enormous": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "b", "1.gif") // its header says 65535 x 65535
			os.WriteFile(path, []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), 0o644)
		}, nil, "65535x65535", ErrDataset},
		"scaled to nothing": {func(*testing.T, string) {}, []FolderOption{Scaled(0, 8)}, "found 0x8", ErrDataset},
		"scaled to -1":      {func(*testing.T, string) {}, []FolderOption{Scaled(-1, 8)}, "found -1x8", ErrDataset},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "a", "1.png"), 4, 4, color.Gray{9})
			put(t, filepath.Join(dir, "b", "1.png"), 4, 4, color.Gray{9})
			c.make(t, dir)
			if _, err := FromFolders(dir, c.opts...); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want one that mentions %q", err, c.want)
			}
		})
	}
}
