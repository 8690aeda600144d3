package data

import (
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // the pictures that FromFolders reads
	_ "image/jpeg" //
	_ "image/png"  //
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/draw"
)

// maxPicture bounds the pixels of a picture, by its header, before memory is
// set aside for them.
const maxPicture = 1 << 26

// A FolderOption adjusts [FromFolders].
type FolderOption func(*folderOptions)

type folderOptions struct {
	height, width int // if scaled, or once the first picture is read
	scaled        bool
	inverted      bool
}

// Scaled has pictures brought to one size (Catmull-Rom), as a whole: one of
// another shape is stretched. Without it, all must be of the same size.
func Scaled(height, width int) FolderOption {
	return func(o *folderOptions) { o.height, o.width, o.scaled = height, width, true }
}

// Inverted has dark become light, for pictures of dark things on a light
// ground, as of pens on paper: a [Dataset] has a ground of 0.
func Inverted() FolderOption { return func(o *folderOptions) { o.inverted = true } }

// FromFolders reads pictures that lie in one folder for each class: dir/cat/1.png.
// The folders' names are those of the classes, 2 to 256, and their order, that
// of the alphabet, is the order of the classes; images are in the order of
// their names. Pictures (PNG, JPEG, GIF) become grey; what is transparent is
// taken for black. Names that begin with a dot are passed over, and folders
// inside the folders; any other file that is not a picture is an error that
// names it. Errors wrap [ErrDataset], or that of the file system.
func FromFolders(dir string, opts ...FolderOption) (*Dataset, error) {
	var o folderOptions
	for _, f := range opts {
		f(&o)
	}
	const side = 1 << 12
	if o.scaled && (o.height < 1 || o.width < 1 || o.height > side || o.width > side) {
		return nil, fmt.Errorf("%w: %s: want to scale to 1x1 to %dx%d pixels, found %dx%d", ErrDataset, dir, side, side, o.height, o.width)
	}
	classes, err := visible(dir, true)
	if err != nil {
		return nil, err
	}
	if len(classes) < 2 || len(classes) > 256 {
		return nil, fmt.Errorf("%w: %s: want 2 to 256 folders of pictures, one for each class, found %d among %s", ErrDataset, dir, len(classes), listing(dir))
	}
	var images, labels []byte
	var first string // the picture whose size is that of all
	for k, class := range classes {
		folder := filepath.Join(dir, class)
		files, err := visible(folder, false)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%w: want pictures in %s, found %s", ErrDataset, folder, listing(folder))
		}
		for _, name := range files {
			path := filepath.Join(folder, name)
			picture, err := decodePicture(path)
			if err != nil {
				return nil, err
			}
			size := picture.Bounds().Size()
			if !o.scaled && first == "" {
				o.height, o.width, first = size.Y, size.X, path
			}
			if !o.scaled && (size.Y != o.height || size.X != o.width) {
				return nil, fmt.Errorf("%w: %s: want %dx%d pixels as in %s, found %dx%d; option Scaled brings them to one size",
					ErrDataset, path, o.width, o.height, first, size.X, size.Y)
			}
			images, labels = append(images, grey(picture, &o)...), append(labels, byte(k))
		}
	}
	return NewDataset(filepath.Base(filepath.Clean(dir)), images, labels, 1, o.height, o.width, classes)
}

// visible lists a folder's subfolders, or what else it holds, by name, without
// those that begin with a dot.
func visible(dir string, folders bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	var names []string
	for _, e := range entries { // ReadDir sorts
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, e.Name())) // follows links
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		if info.IsDir() == folders {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func decodePicture(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	head, _, err := image.DecodeConfig(f)
	if errors.Is(err, image.ErrFormat) {
		return nil, fmt.Errorf("%w: %s: want a picture (PNG, JPEG or GIF), found something else", ErrDataset, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDataset, path, err)
	}
	if head.Width < 1 || head.Height < 1 || head.Width > maxPicture/head.Height {
		return nil, fmt.Errorf("%w: %s: want a picture of at most %d pixels, found %dx%d", ErrDataset, path, maxPicture, head.Width, head.Height)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	picture, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDataset, path, err)
	}
	return picture, nil
}

// grey returns the pixels of a picture at the size that o says.
func grey(picture image.Image, o *folderOptions) []byte {
	out := image.NewGray(image.Rect(0, 0, o.width, o.height))
	if b := picture.Bounds(); b.Dx() == o.width && b.Dy() == o.height {
		draw.Draw(out, out.Rect, picture, b.Min, draw.Src)
	} else {
		draw.CatmullRom.Scale(out, out.Rect, picture, b, draw.Src, nil)
	}
	if o.inverted {
		for i, v := range out.Pix {
			out.Pix[i] = 255 - v
		}
	}
	return out.Pix
}
