package train

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// TensorBoard returns an EpochEnd hook that writes the history into a folder
// as an event file, for TensorBoard to follow: the scalars loss/train,
// loss/test, accuracy/train, accuracy/test and examples_per_sec, by epoch. A
// run that is resumed begins a new file, with the epochs before it.
//
// An event file is a sequence of records as TensorFlow's record_writer.h
// documents them; each holds an Event as event.proto and summary.proto do.
func TensorBoard(dir string) func(*History) error {
	var path string
	written := 0
	return func(h *History) error {
		if path == "" {
			// The name must contain "tfevents"; the time orders the files of a folder.
			path = filepath.Join(dir, fmt.Sprintf("events.out.tfevents.%010d.lenet5.%d", time.Now().Unix(), os.Getpid()))
		}
		if err := appendEvents(path, h, written, time.Now()); err != nil {
			return fmt.Errorf("train: writing events: %w", err)
		}
		written = len(h.Epochs)
		return nil
	}
}

// appendEvents appends the epochs from the written-th on; before the first of
// them goes the event that says what the file is.
func appendEvents(path string, h *History, written int, now time.Time) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := writeEvents(f, h.Epochs[written:], written == 0, now); err != nil {
		return err
	}
	return f.Close()
}

// The fields of the messages that are used.
const (
	eventWallTime    = 1 // double
	eventStep        = 2 // int64
	eventFileVersion = 3 // string
	eventSummary     = 5 // Summary
	summaryValue     = 1 // repeated Value
	valueTag         = 1 // string
	valueSimple      = 2 // float
)

func writeEvents(w io.Writer, epochs []Epoch, first bool, now time.Time) error {
	var out []byte
	wall := float64(now.UnixNano()) / 1e9
	if first {
		e := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
		e = protowire.AppendFixed64(e, math.Float64bits(wall))
		e = protowire.AppendTag(e, eventFileVersion, protowire.BytesType)
		out = appendRecord(out, protowire.AppendString(e, "brain.Event:2"))
	}
	for _, epoch := range epochs {
		var summary []byte
		for _, v := range []struct {
			tag string
			x   float64
		}{
			{"loss/train", epoch.TrainLoss}, {"loss/test", epoch.TestLoss},
			{"accuracy/train", epoch.TrainAccuracy}, {"accuracy/test", epoch.TestAccuracy},
			{"examples_per_sec", epoch.ExamplesPerSec()},
		} {
			if math.IsNaN(v.x) {
				continue
			}
			value := protowire.AppendTag(nil, valueTag, protowire.BytesType)
			value = protowire.AppendString(value, v.tag)
			value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
			value = protowire.AppendFixed32(value, math.Float32bits(float32(v.x)))
			summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
			summary = protowire.AppendBytes(summary, value)
		}
		e := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
		e = protowire.AppendFixed64(e, math.Float64bits(wall))
		e = protowire.AppendTag(e, eventStep, protowire.VarintType)
		e = protowire.AppendVarint(e, uint64(epoch.Epoch))
		e = protowire.AppendTag(e, eventSummary, protowire.BytesType)
		out = appendRecord(out, protowire.AppendBytes(e, summary))
	}
	_, err := w.Write(out)
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is the checksum of a record's parts: CRC-32C, rotated and offset,
// so that a checksum of data that holds checksums is no trivial one.
func maskedCRC(b []byte) uint32 {
	crc := crc32.Checksum(b, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// appendRecord appends the length of data, the checksum of the length, data,
// and its checksum.
func appendRecord(dst, data []byte) []byte {
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	dst = append(dst, length...)
	dst = binary.LittleEndian.AppendUint32(dst, maskedCRC(length))
	dst = append(dst, data...)
	return binary.LittleEndian.AppendUint32(dst, maskedCRC(data))
}
