package verdict

import "math"

// alternative is one way in which the canary may be worse.
type alternative struct {
	prior float64 // natural logarithm; those of a mixture add up to 1
	ratio float64 // natural logarithm of the product of the likelihood ratios so far
}

// stratum is answers that are compared with each other: those of one class in one batch.
type stratum struct {
	production, canary []int64     // answers of each category
	weights            [][]float64 // of each alternative: by how much an answer of each category is likelier to be the canary's, as a natural logarithm of odds
}

// mixture is a sequential test of "both pools answer alike" against "the canary is worse".
//
// What is tested is who answered, given what was answered: while both pools are alike, every way of dealing the answers
// of a batch to the pools is as likely as any other, whatever the rate of errors or the distribution of times (a
// permutation test). The likelihood ratio of an alternative is Fisher's noncentral hypergeometric probability of the
// dealing that was seen over the central one (Fog 2008). Its product over batches is a nonnegative martingale while the
// pools are alike, and so is the mean over alternatives (the method of mixtures: Robbins 1970). By Ville's inequality
// it ever exceeds 1/α with a probability of at most α. So the test may be asked at any moment, as often as one likes.
// Batches are strata, as in the Mantel-Haenszel test: what both pools suffer at the same time cancels out. So are classes of
// requests: while a class is answered alike, it does not matter how often each pool has it.
type mixture []alternative

// observe takes one batch. It counts for at most most, a natural logarithm. A likelihood ratio that is cut stays below a mean
// of 1, so the test errs no more often.
func (m mixture) observe(most float64, batch ...stratum) {
	for i := range m {
		var ratio float64
		for _, s := range batch {
			if s.comparable() {
				ratio += logRatio(s.production, s.canary, s.weights[i])
			}
		}
		m[i].ratio += min(ratio, most)
	}
}

// comparable reports whether both pools have answers.
func (s stratum) comparable() bool {
	var n, c int64
	for i := range s.canary {
		n += s.production[i] + s.canary[i]
		c += s.canary[i]
	}
	return c > 0 && c < n
}

// evidence is the natural logarithm of the mean likelihood ratio.
func (m mixture) evidence() float64 {
	terms := make([]float64, len(m))
	for i, a := range m {
		terms[i] = a.prior + a.ratio
	}
	return logSum(terms)
}

// exactWork is the product of a batch's size and the canary's part up to which the mean over all dealings is computed
// exactly. The saddlepoint approximation beyond has a relative error in the order of the reciprocal of the batch's size.
const exactWork = 400_000

// logRatio is the natural logarithm of the likelihood ratio of one batch.
func logRatio(production, canary []int64, weights []float64) float64 {
	var observed float64
	var counts []int64 // of both pools, categories of the same weight together
	var distinct []float64
	var n, c int64
	for i, w := range weights {
		k := production[i] + canary[i]
		if k == 0 {
			continue
		}
		observed += w * float64(canary[i])
		n += k
		c += canary[i]
		if last := len(distinct) - 1; last >= 0 && distinct[last] == w {
			counts[last] += k
			continue
		}
		counts, distinct = append(counts, k), append(distinct, w)
	}
	switch {
	case len(distinct) == 1:
		return 0
	case len(distinct) == 2:
		return observed - twoCategories(counts, distinct, n, c)
	case n*c <= exactWork:
		return observed - allDealings(counts, distinct, n, c)
	}
	return observed - saddlepoint(counts, distinct, float64(n), float64(c))
}

// twoCategories is the natural logarithm of the mean of e to the sum of the canary's weights, over all ways to deal c of n
// answers to the canary. So are allDealings and saddlepoint.
func twoCategories(counts []int64, weights []float64, n, c int64) float64 {
	k := counts[1]
	var terms []float64
	for j := max(0, c-counts[0]); j <= min(k, c); j++ {
		terms = append(terms, logChoose(k, j)+logChoose(n-k, c-j)+weights[1]*float64(j)+weights[0]*float64(c-j))
	}
	return logSum(terms) - logChoose(n, c)
}

// allDealings multiplies out the generating function ∏(1 + z·e^w): the coefficient of z^c is the sum over all dealings.
func allDealings(counts []int64, weights []float64, n, c int64) float64 {
	sums := make([]float64, c+1)
	sums[0] = 1
	var scale float64
	var seen int64
	for i, k := range counts {
		odds := math.Exp(weights[i])
		for range k {
			seen++
			for j := min(seen, c); j > 0; j-- {
				sums[j] += sums[j-1] * odds
			}
		}
		var most float64
		for _, s := range sums {
			most = max(most, s)
		}
		for j := range sums {
			sums[j] /= most
		}
		scale += math.Log(most)
	}
	return math.Log(sums[c]) + scale - logChoose(n, c)
}

// saddlepoint approximates the same coefficient (Daniels 1954), and the number of dealings in the same way, so that most of
// the error cancels out.
func saddlepoint(counts []int64, weights []float64, n, c float64) float64 {
	z := math.Log(c / (n - c))
	plain := n*math.Log1p(math.Exp(z)) - z*c - 0.5*math.Log(c*(n-c)/n)
	var k, k2 float64
	for range 100 {
		var k1 float64
		k, k2 = 0, 0
		for i, count := range counts {
			m, x := float64(count), z+weights[i]
			p := 1 / (1 + math.Exp(-x))
			k += m * (max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))))
			k1 += m * p
			k2 += m * p * (1 - p)
		}
		step := (k1 - c) / k2
		if math.Abs(step) < 1e-12 {
			break
		}
		z -= min(max(step, -1), 1)
	}
	return k - z*c - 0.5*math.Log(k2) - plain
}

// logChoose is the natural logarithm of the number of ways to choose k of n.
func logChoose(n, k int64) float64 {
	all, _ := math.Lgamma(float64(n + 1))
	chosen, _ := math.Lgamma(float64(k + 1))
	left, _ := math.Lgamma(float64(n - k + 1))
	return all - chosen - left
}

// logSum is the natural logarithm of the sum of e to each term.
func logSum(terms []float64) float64 {
	most := math.Inf(-1)
	for _, t := range terms {
		most = max(most, t)
	}
	if math.IsInf(most, -1) {
		return most
	}
	var sum float64
	for _, t := range terms {
		sum += math.Exp(t - most)
	}
	return most + math.Log(sum)
}
