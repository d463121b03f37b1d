package builtin

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// WriteDemoDocuments writes four plausible documents into dir, which it makes if
// need be: sales, inventory, flights and people, under 3 MB together. The same
// seed writes the same bytes. A file that exists is left alone: it may be the
// user's.
func WriteDemoDocuments(dir string, seed uint64) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make documents directory: %w", err)
	}
	for i, d := range demoDocuments() {
		// A generator each, so that one document does not depend on another.
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		if err := writeDemo(filepath.Join(dir, d.name+suffix), d, rng); err != nil {
			return fmt.Errorf("write demo document %s: %w", d.name, err)
		}
	}
	return nil
}

type demoDocument struct {
	name   string
	rows   int
	header []string
	row    func(rng *rand.Rand, i int) []string
}

func demoDocuments() []demoDocument {
	return []demoDocument{
		{"sales", 20_000, []string{"order", "date", "region", "product", "channel", "units", "revenue"}, salesRow},
		{"inventory", 5_000, []string{"sku", "warehouse", "category", "stock", "reorder_at", "unit_cost"}, inventoryRow},
		{"flights", 12_000, []string{"flight", "date", "origin", "destination", "status", "delay_minutes", "passengers"}, flightsRow},
		{"people", 2_000, []string{"id", "given_name", "family_name", "department", "city", "hired", "salary"}, peopleRow},
	}
}

// writeDemo writes beside the file and links the result into place: readers
// never see half of it, and a file that came meanwhile is not overwritten.
func writeDemo(path string, d demoDocument, rng *rand.Rand) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".demo-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = errors.Join(writeRows(f, d, rng), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return os.Rename(f.Name(), path) // a file system without links
	}
	return nil
}

func writeRows(f *os.File, d demoDocument, rng *rand.Rand) error {
	b := bufio.NewWriter(f)
	w := csv.NewWriter(b)
	if err := w.Write(d.header); err != nil {
		return err
	}
	for i := range d.rows {
		if err := w.Write(d.row(rng, i)); err != nil {
			return err
		}
	}
	w.Flush()
	return errors.Join(w.Error(), b.Flush())
}

func pick(rng *rand.Rand, of ...string) string { return of[rng.IntN(len(of))] }

// cents writes an amount that is counted in hundredths.
func cents(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }

// day is a date in the two years from 2023 on: a fixed time, so that the same
// seed stays the same document.
func day(n int) string {
	return time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n%730).Format(time.DateOnly)
}

func salesRow(rng *rand.Rand, i int) []string {
	products := []string{"Kettle", "Toaster", "Lamp", "Desk", "Chair", "Monitor", "Keyboard", "Headset"}
	price := []int{3999, 4550, 2900, 24900, 12900, 18999, 5999, 8950}
	p := rng.IntN(len(products))
	units := 1 + rng.IntN(12)
	return []string{
		strconv.Itoa(100_000 + i), day(i * 730 / 20_000), pick(rng, "North", "South", "East", "West"), products[p],
		pick(rng, "Web", "Shop", "Partner"), strconv.Itoa(units), cents(units * price[p] * (85 + rng.IntN(16)) / 100),
	}
}

func inventoryRow(rng *rand.Rand, i int) []string {
	return []string{
		fmt.Sprintf("SKU-%05d", i), pick(rng, "Hamburg", "Lyon", "Porto", "Malmo"),
		pick(rng, "Tools", "Garden", "Kitchen", "Office", "Toys"), strconv.Itoa(rng.IntN(900)),
		strconv.Itoa(20 + 10*rng.IntN(9)), cents(150 + rng.IntN(40_000)),
	}
}

func flightsRow(rng *rand.Rand, i int) []string {
	airports := []string{"AMS", "BCN", "CPH", "DUB", "FRA", "LIS", "OSL", "VIE", "ZRH"}
	from := rng.IntN(len(airports))
	to := (from + 1 + rng.IntN(len(airports)-1)) % len(airports)
	status, delay := "on time", 0
	switch rng.IntN(20) {
	case 0:
		status = "cancelled"
	case 1, 2, 3, 4:
		status, delay = "delayed", 15+rng.IntN(200)
	}
	passengers := 0
	if status != "cancelled" {
		passengers = 40 + rng.IntN(180)
	}
	return []string{
		fmt.Sprintf("US%04d", 1000+i%4000), day(i * 730 / 12_000), airports[from], airports[to],
		status, strconv.Itoa(delay), strconv.Itoa(passengers),
	}
}

func peopleRow(rng *rand.Rand, i int) []string {
	return []string{
		strconv.Itoa(1 + i), pick(rng, "Ada", "Bela", "Chidi", "Dana", "Elif", "Femi", "Goran", "Hana", "Ines", "Jun"),
		pick(rng, "Abara", "Berg", "Costa", "Dvorak", "Egan", "Fischer", "Garcia", "Hansen", "Ito", "Jensen"),
		pick(rng, "Sales", "Support", "Research", "Finance", "Operations"), pick(rng, "Berlin", "Dublin", "Lisbon", "Oslo", "Vienna"),
		day(rng.IntN(730)), cents(3_000_000 + 1000*rng.IntN(6000)),
	}
}
