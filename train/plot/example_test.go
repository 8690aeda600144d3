package plot_test

import (
	"fmt"
	"log"
	"os"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
	"example.com/lenet5/train"
	"example.com/lenet5/train/plot"
)

// A picture is written as PNG and as SVG.
func ExamplePicture_Save() {
	set := data.SyntheticDigits(0, 50, 1).Test
	net, err := lenet.New(lenet.Modern())
	if err != nil {
		log.Fatal(err)
	}
	report, err := train.Classify(net, set)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lenet5")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := plot.Confusion(report, "before training").Save(dir, "confusion"); err != nil {
		log.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		fmt.Println(f.Name())
	}
	// Output:
	// confusion.png
	// confusion.svg
}
