package data

import (
	"fmt"
	"image"
	"image/color"
	_ "image/gif"  // decoders for FromFolders
	_ "image/jpeg" //
	_ "image/png"  //
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/image/draw"
)

// maxPicture bounds the pixels of a picture, by its header, before it is
// decoded.
const maxPicture = 1 << 26

// FromFolders reads a set of pictures that lie in one folder per class, the
// folder's name being that of the class; the classes are in the order of their
// names. Pictures (PNG, JPEG, GIF) become grey, and are scaled to height by
// width; with invert, dark becomes light, for pictures of dark strokes on
// paper, since 0 is background. Names that begin with a dot are passed over;
// any other file that is not a picture is an error that names it.
func FromFolders(dir string, height, width int, invert bool) (*Dataset, error) {
	if height < 1 || width < 1 || height > 1<<12 || width > 1<<12 {
		return nil, fmt.Errorf("%w: images of %dx%d", ErrDataset, height, width)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	var classes []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			classes = append(classes, e.Name())
		}
	}
	slices.Sort(classes)
	if len(classes) < 2 || len(classes) > 256 {
		return nil, fmt.Errorf("%w: %s: want 2 to 256 folders, one per class, found %d; it holds %s", ErrDataset, dir, len(classes), listing(dir))
	}
	var images, labels []byte
	for k, class := range classes {
		files, err := os.ReadDir(filepath.Join(dir, class))
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		before := len(labels)
		for _, f := range files {
			if f.IsDir() || strings.HasPrefix(f.Name(), ".") {
				continue
			}
			pixels, err := readPicture(filepath.Join(dir, class, f.Name()), height, width, invert)
			if err != nil {
				return nil, err
			}
			images, labels = append(images, pixels...), append(labels, byte(k))
		}
		if len(labels) == before {
			return nil, fmt.Errorf("%w: the folder %s holds no pictures", ErrDataset, filepath.Join(dir, class))
		}
	}
	return NewDataset(filepath.Base(dir), images, labels, 1, height, width, classes)
}

func readPicture(path string, height, width int, invert bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	head, _, err := image.DecodeConfig(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: want a PNG, JPEG or GIF: %w", ErrDataset, path, err)
	}
	if head.Width < 1 || head.Height < 1 || head.Width > maxPicture/head.Height {
		return nil, fmt.Errorf("%w: %s: a picture of %dx%d pixels is too large", ErrDataset, path, head.Width, head.Height)
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("data: %s: %w", path, err)
	}
	src, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDataset, path, err)
	}
	grey := image.NewGray(image.Rect(0, 0, width, height))
	if b := src.Bounds(); b.Dx() == width && b.Dy() == height {
		for y := range height {
			for x := range width {
				grey.SetGray(x, y, color.GrayModel.Convert(src.At(b.Min.X+x, b.Min.Y+y)).(color.Gray))
			}
		}
	} else {
		draw.CatmullRom.Scale(grey, grey.Bounds(), src, b, draw.Src, nil)
	}
	if invert {
		for i, v := range grey.Pix {
			grey.Pix[i] = 255 - v
		}
	}
	return grey.Pix, nil
}
