package train

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crc32c computes the checksum bit by bit, from its definition.
func crc32c(b []byte) uint32 {
	crc := ^uint32(0)
	for _, x := range b {
		crc ^= uint32(x)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78*(crc&1)
		}
	}
	return ^crc
}

// records takes an event file apart, and checks each checksum.
func records(t *testing.T, b []byte) []string {
	t.Helper()
	masked := func(b []byte) uint32 {
		crc := crc32c(b)
		return (crc>>15 | crc<<17) + 0xa282ead8
	}
	var out []string
	for len(b) > 0 {
		n := binary.LittleEndian.Uint64(b)
		if binary.LittleEndian.Uint32(b[8:]) != masked(b[:8]) || binary.LittleEndian.Uint32(b[12+n:]) != masked(b[12:12+n]) {
			t.Fatal("a checksum is wrong")
		}
		out = append(out, string(b[12:12+n]))
		b = b[16+n:]
	}
	return out
}

func TestEvents(t *testing.T) {
	// The check value of CRC-32C, from RFC 3720, B.4.
	if crc := crc32c(make([]byte, 32)); crc != 0x8a9136aa {
		t.Fatalf("%x", crc)
	}
	dir := t.TempDir()
	hook := TensorBoard(dir)
	h := &History{}
	for i := range 3 {
		e := Epoch{Epoch: i + 1, TrainLoss: 0.5, TrainAccuracy: 0.25, TestLoss: math.NaN(), TestAccuracy: math.NaN(), Examples: 1000, TrainTime: time.Second}
		if i == 2 {
			e.TestLoss, e.TestAccuracy = 2, 0.75
		}
		h.Epochs = append(h.Epochs, e)
		if i != 1 { // two epochs at once, as after a resumption
			if err := hook(h); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*tfevents*"))
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	rs := records(t, b)
	if len(rs) != 4 || !strings.HasSuffix(rs[0], "\x1a\x0dbrain.Event:2") {
		t.Fatalf("%d records, %q", len(rs), rs)
	}
	// By hand, from event.proto and summary.proto, after the wall time.
	const first = "1001" + "2a43" +
		"0a11" + "0a0a" + "6c6f73732f747261696e" + "15" + "0000003f" + // loss/train 0.5
		"0a15" + "0a0e" + "61636375726163792f747261696e" + "15" + "0000803e" + // accuracy/train 0.25
		"0a17" + "0a10" + "6578616d706c65735f7065725f736563" + "15" + "00007a44" // examples_per_sec 1000
	if got := hex.EncodeToString([]byte(rs[1])); got[:2] != "09" || got[18:] != first {
		t.Errorf("%s, want %s", got[18:], first)
	}
	for _, want := range []string{"\x10\x03", "loss/test\x15\x00\x00\x00\x40", "accuracy/test\x15\x00\x00\x40\x3f"} {
		if !strings.Contains(rs[3], want) {
			t.Errorf("the last record lacks %q: %q", want, rs[3])
		}
	}
	if err := TensorBoard(filepath.Join(dir, "missing"))(h); err == nil {
		t.Error("a missing folder: no error")
	}
}
