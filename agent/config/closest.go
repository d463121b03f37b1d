package config

import (
	"fmt"
	"strings"
)

// Closest is the one of words that was probably meant by word, or "" when none is
// similar. Of equals the first wins.
func Closest(word string, words []string) string {
	best, distance := "", min(4, len(word)/3+1)
	for _, w := range words {
		if d := editDistance(word, w, distance); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// suggestion names the key that was probably meant.
func suggestion(key string) string {
	var words []string
	for _, f := range Fields() {
		if f.Flag == strings.ReplaceAll(key, "_", "-") { // the flag's name instead of the key's
			return keyAdvice(f.Key)
		}
		words = append(words, f.Key)
		if section, _, nested := strings.Cut(f.Key, "."); nested {
			words = append(words, section)
		}
	}
	best := Closest(key, words)
	if best == "" {
		return "remove it; usher agent --print-config shows every key"
	}
	return keyAdvice(best)
}

func keyAdvice(key string) string {
	if section, name, nested := strings.Cut(key, "."); nested {
		return fmt.Sprintf("did you mean %s, below %s?", name, section)
	}
	return fmt.Sprintf("did you mean %s?", key)
}

// editDistance is Levenshtein's, given up at limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}
