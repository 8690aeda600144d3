package data_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log"
	"os"
	"path/filepath"

	"example.com/lenet5/data"
)

// A program that is content with drawn images where the real ones cannot be
// had, and says so.
func ExampleFashionMNIST() {
	ctx := context.Background()
	set, err := data.FashionMNIST(ctx, data.Offline(), data.SearchDirs(), data.CacheDir(filepath.Join(os.TempDir(), "no-such-cache")))
	if errors.Is(err, data.ErrUnavailable) { // but not data.ErrNotInDir: a folder was named
		set, err = data.SyntheticGarments(600, 100, 1), nil
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Name, set.Train.Len(), set.Test.Len(), set.Synthetic)
	// Output: synthetic garments 600 100 true
}

func ExampleSyntheticDigits() {
	set := data.SyntheticDigits(1000, 200, 1)
	fmt.Println(set.Train.Channels, set.Train.Height, set.Train.Width, set.Train.Classes)
	// Output: 1 28 28 [0 1 2 3 4 5 6 7 8 9]
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, half := range []string{"train", "t10k"} {
		images := &data.Array{Shape: []int{2, 1, 3}, Data: []byte{0, 127, 255, 255, 127, 0}}
		labels := &data.Array{Shape: []int{2}, Data: []byte{0, 1}}
		if err := data.WriteIDXFile(filepath.Join(dir, half+"-images-idx3-ubyte.gz"), images); err != nil {
			log.Fatal(err)
		}
		if err := data.WriteIDXFile(filepath.Join(dir, half+"-labels-idx1-ubyte.gz"), labels); err != nil {
			log.Fatal(err)
		}
	}
	set, err := data.Open(dir, "rising", "falling")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Train.Image(1), set.Train.Classes[set.Train.Labels[1]])
	// Output: [255 127 0] falling
}

func ExampleFromFolders() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for class, grey := range map[string]uint8{"dark": 10, "light": 240} {
		picture := image.NewGray(image.Rect(0, 0, 56, 56))
		for i := range picture.Pix {
			picture.SetGray(i%56, i/56, color.Gray{Y: grey})
		}
		var b bytes.Buffer
		if err := png.Encode(&b, picture); err != nil {
			log.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, class), 0o755); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, class, "1.png"), b.Bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	set, err := data.FromFolders(dir, data.Scaled(28, 28))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Len(), set.Height, set.Width, set.Classes, set.Image(1)[0])
	// Output: 2 28 28 [dark light] 240
}

func ExampleReadIDX() {
	a, err := data.ReadIDX(bytes.NewReader([]byte{0, 0, 0x08, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9}))
	fmt.Println(a.Type(), a.Shape, a.Data, err)
	_, err = data.ReadIDX(bytes.NewReader([]byte{0, 0, 0x08, 1, 0, 0, 0, 9, 7}))
	fmt.Println(err)
	// Output:
	// uint8 [1 3] [7 8 9] <nil>
	// data: IDX stream: offset 9: elements: want 9 bytes, found 1, then the end of the file
}

func ExampleBatches() {
	for step, index := range data.Batches(data.Permutation(nil, 5, 1, 1), 2) {
		fmt.Println(step, len(index))
	}
	// Output:
	// 0 2
	// 1 2
	// 2 1
}

func ExampleDataset_Split() {
	set := data.SyntheticDigits(100, 0, 1).Train
	train, validation, err := set.Split(20, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(train.Len(), validation.Len())
	// Output: 80 20
}

func ExampleSaveGrid() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	set := data.SyntheticGarments(500, 0, 1).Train
	fmt.Println(data.SaveGrid(filepath.Join(dir, "garments.png"), set, set.ByClass(10), 10, 2))
	// Output: <nil>
}
