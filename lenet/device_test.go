package lenet_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"example.com/lenet5/internal/engine/cuda"
	"example.com/lenet5/lenet"
)

func TestCheckDevice(t *testing.T) {
	for _, name := range []string{"", "auto", "cpu", "cuda", "cuda:0", "cuda:12"} {
		if err := lenet.CheckDevice(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "CUDA"} {
		if err := lenet.CheckDevice(name); !errors.Is(err, lenet.ErrDevice) || !strings.Contains(err.Error(), "cuda:N") {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := lenet.New(lenet.Sigmoid(), lenet.OnDevice(name)); !errors.Is(err, lenet.ErrDevice) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestDevices: a network says where it runs and why, and a build without CUDA
// how to make one with it.
func TestDevices(t *testing.T) {
	for _, name := range []string{"auto", "cpu"} {
		net, err := lenet.New(lenet.Sigmoid(), lenet.OnDevice(name))
		if err != nil {
			t.Fatal(err)
		}
		if d := net.Device(); d.Name == "" || d.Detail == "" || d.Kernels == "" || d.Reason == "" || name == "cpu" && d.Name != "cpu" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if cuda.Build().Built {
		t.Skip("this build has CUDA")
	}
	_, err := lenet.New(lenet.Sigmoid(), lenet.OnDevice("cuda"))
	if !errors.Is(err, lenet.ErrDevice) || !errors.Is(err, cuda.ErrNotBuilt) || !strings.Contains(err.Error(), "-tags gpu") {
		t.Errorf("cuda in a build without it: %v", err)
	}
}

// TestCUDAPredicts compares predictions with those on the CPU.
func TestCUDAPredicts(t *testing.T) {
	if !cuda.Build().Built {
		t.Skip("this build cannot use CUDA")
	}
	if _, err := lenet.New(lenet.Sigmoid(), lenet.OnDevice("cuda:99")); !errors.Is(err, lenet.ErrDevice) {
		t.Errorf("a device that is not there: %v", err)
	}
	on := map[string]*lenet.Net{}
	for _, device := range []string{"cpu", "cuda"} {
		net, err := lenet.New(lenet.Modern(), lenet.Seed(5), lenet.OnDevice(device))
		if err != nil {
			t.Fatal(err)
		}
		on[device] = net
	}
	if c, err := on["cuda"].Clone(); err != nil || c.Device() != on["cuda"].Device() {
		t.Errorf("a clone is on another device: %v", err)
	}
	images := make([]byte, 5*28*28)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range images {
		images[i] = byte(rng.UintN(256))
	}
	for _, n := range []int{1, 5} {
		want, err := on["cpu"].PredictBytes(images[:n*28*28])
		if err != nil {
			t.Fatal(err)
		}
		got, err := on["cuda"].PredictBytes(images[:n*28*28])
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range got {
			for k, v := range p.Probabilities {
				if w := want[i].Probabilities[k]; math.Abs(float64(v-w)) > 1e-5 {
					t.Errorf("image %d of %d, class %d: %v, want %v", i, n, k, v, w)
				}
			}
		}
	}
}
