package lenet_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"log"
	"os"
	"path/filepath"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
)

// A network of one's own: a Config says what it is, or why it cannot be.
func ExampleNew() {
	cfg := lenet.Modern()
	cfg.Name = "colour"
	cfg.Input.Channels = 3
	cfg.Blocks[1].Channels = 32
	cfg.Classes = 5
	net, err := lenet.New(cfg, lenet.Seed(7), lenet.ClassNames("cat", "dog", "fox", "hen", "owl"))
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range net.Shapes() {
		fmt.Printf("%-8s %-9s %6d\n", s.Name, s, s.Params)
	}
	cfg.Blocks[1].Kernel = 15
	_, err = lenet.New(cfg)
	fmt.Println(errors.Is(err, lenet.ErrConfig), err)
	// Output:
	// conv1    28x28x6      456
	// pool1    14x14x6        0
	// conv2    10x10x32    4832
	// pool2    5x5x32         0
	// flatten  800            0
	// fc1      120        96120
	// fc2      84         10164
	// fc3      5            425
	// true lenet: bad config: block 2: a 15x15 kernel does not fit an input of 14x14 with padding 0
}

// Images as bytes, one after the other, 0 for the ground.
func ExampleNet_PredictBytes() {
	net, err := lenet.New(lenet.Sigmoid())
	if err != nil {
		log.Fatal(err)
	}
	images := data.SyntheticDigits(0, 3, 1).Test.Images
	predictions, err := net.PredictBytes(images)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(predictions), "predictions of", len(predictions[0].Probabilities), "probabilities")
	// Output: 3 predictions of 10 probabilities
}

// A picture of any size: here dark on white, and off the middle.
func ExampleNet_Predict() {
	net, err := lenet.New(lenet.Modern())
	if err != nil {
		log.Fatal(err)
	}
	picture := image.NewGray(image.Rect(0, 0, 640, 480))
	for i := range picture.Pix {
		picture.Pix[i] = 255
	}
	for y := 100; y < 300; y++ {
		for x := 150; x < 180; x++ {
			picture.SetGray(x, y, color.Gray{30})
		}
	}
	p, err := net.Predict(picture, lenet.InvertIfLight(), lenet.Centre())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("class", p.Name == fmt.Sprint(p.Class), len(p.Probabilities))
	// Output: class true 10
}

// A model file brings all that Load needs.
func ExampleLoad() {
	net, err := lenet.New(lenet.ReLU(), lenet.ClassNames("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
	if err != nil {
		log.Fatal(err)
	}
	net.SetNote("trained_on", "nothing yet")
	dir, err := os.MkdirTemp("", "lenet5")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.safetensors")
	if err := net.Save(path); err != nil {
		log.Fatal(err)
	}
	back, err := lenet.Load(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(back.Config().Name, back.ClassNames()[7], back.Notes()["trained_on"])
	// Output: relu 7 nothing yet
}

// ONNX, for other runtimes: bytes in, logits and probabilities out.
func ExampleNet_WriteONNX() {
	net, err := lenet.New(lenet.LeCun98())
	if err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer
	if err := net.WriteONNX(&file); err != nil {
		log.Fatal(err)
	}
	fmt.Println(file.Len() > 4*60000)
	// Output: true
}

// What each layer makes of an image.
func ExampleNet_Activations() {
	net, err := lenet.New(lenet.Sigmoid())
	if err != nil {
		log.Fatal(err)
	}
	layers, err := net.Activations(data.SyntheticDigits(0, 1, 1).Test.Image(0))
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range layers[:3] {
		fmt.Println(l.Name, l, len(l.Values))
	}
	// Output:
	// conv1 28x28x6 4704
	// pool1 14x14x6 1176
	// conv2 10x10x16 1600
}

// A training loop of one's own: a Trainer takes steps.
func ExampleNet_NewTrainer() {
	net, err := lenet.New(lenet.Modern())
	if err != nil {
		log.Fatal(err)
	}
	set := data.SyntheticDigits(512, 0, 1).Train
	trainer, err := net.NewTrainer(64)
	if err != nil {
		log.Fatal(err)
	}
	defer trainer.Close()
	var first, last lenet.Stats
	for epoch := 1; epoch <= 4; epoch++ {
		order := data.Permutation(nil, set.Len(), 1, epoch)
		for step, index := range data.Batches(order, 64) {
			last, err = trainer.Step(lenet.Batch{Images: set.Images, Labels: set.Labels, Index: index},
				lenet.Update{LearningRate: 0.002, Adam: true, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8})
			if err != nil {
				log.Fatal(err)
			}
			if epoch == 1 && step == 0 {
				first = last
			}
		}
	}
	fmt.Println("the loss has fallen:", last.Loss < first.Loss)
	// Output: the loss has fallen: true
}

// Steps that are queued: on a GPU the host then waits once for many of them.
func ExampleTrainer_Enqueue() {
	net, err := lenet.New(lenet.Modern())
	if err != nil {
		log.Fatal(err)
	}
	set := data.SyntheticDigits(512, 0, 1).Train
	trainer, err := net.NewTrainer(64)
	if err != nil {
		log.Fatal(err)
	}
	defer trainer.Close()
	examples := 0
	flush := func() {
		steps, err := trainer.Flush()
		if err != nil {
			log.Fatal(err)
		}
		for _, s := range steps {
			examples += s.Count
		}
	}
	for _, index := range data.Batches(data.Permutation(nil, set.Len(), 1, 1), 64) {
		err := trainer.Enqueue(lenet.Batch{Images: set.Images, Labels: set.Labels, Index: index}, lenet.Update{LearningRate: 0.01})
		if err != nil {
			log.Fatal(err)
		}
		if trainer.Room() == 0 {
			flush()
		}
	}
	flush()
	fmt.Println("trained on", examples, "examples")
	// Output: trained on 512 examples
}
