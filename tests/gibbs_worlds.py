"""Parameters drawn from the Gibbs sampler's prior, with ratings from them, and what stays known of both after a sweep."""

from statistics import NormalDist

import numpy as np

from .gibbs_reference import case, gamma_cdf, normal_cdf, surprise


class World:
    """Parameters of a sampler, drawn from its prior, and ratings from them."""

    def __init__(self, n_ratings, n_blocks=(0, 0), n_days=0, n_factors=1):
        table = case(5, 4, n_ratings, n_blocks, n_days, seed=1)
        self.order = np.argsort(table.user, kind="stable")
        x, self.columns = table.design()
        self.x = x[self.order]
        self.sampler = self.sampler_of(table, n_factors)
        self.groups = {
            (side, at): group for side, of in enumerate(self.sampler.sides) for at, group in enumerate(of.groups)
        }

    def draw(self, seed):
        """Parameters from the prior and ratings from them, put where the sampler has its own."""
        rng, sampler = np.random.default_rng((7, seed)), self.sampler
        for group in self.groups.values():
            n_weights, n = group.weights.shape
            group.mean = rng.normal(size=n_weights).astype(np.float32).astype(np.float64)
            group.precision = rng.chisquare(1, n_weights)
            scale = 1 / np.sqrt(group.precision)
            group.weights[:] = group.mean[:, None] + scale[:, None] * rng.normal(size=(n_weights, n))
        sampler.seed = seed
        self.draw_ratings(rng)
        sampler.begin()

    def draw_ratings(self, rng):
        """With what only they depend on: the noise's precision and w0."""
        sampler = self.sampler
        sampler.alpha, sampler.constant = rng.chisquare(1), float(np.float32(rng.normal()))
        noise = rng.normal(size=len(self.x)) / np.sqrt(sampler.alpha)
        self.rating = sampler._observed.rating[:] = (self.predictions() + noise).astype(np.float32)

    def sampler_of(self, table, n_factors):
        return table.sampler(n_factors)

    def weights(self):
        weights = np.zeros((1 + self.sampler.n_factors, self.x.shape[1]))
        for name, columns in self.columns.items():
            weights[:, columns] = self.groups[name].weights
        return weights

    def predictions(self):
        weights, x = self.weights(), self.x
        pairs = sum((x @ v) ** 2 - x**2 @ v**2 for v in weights[1:]) / 2
        return self.sampler.constant + x @ weights[0] + pairs

    def known_of_ratings(self, predictions, rng):
        """A standard normal number for each rating, and what is known of what only ratings depend on."""
        alpha, constant = self.sampler.alpha, self.sampler.constant
        return (self.rating - predictions) * np.sqrt(alpha), {"w0": constant}, {"alpha": alpha}

    def known(self, rng):
        """What is standard normal, or chi-square with one degree of freedom, whatever the sweep; by name."""
        x, weights = self.x, self.weights()
        predictions = self.predictions()
        left, normal, square = self.known_of_ratings(predictions, rng)
        directions = {"all": np.ones(len(x)), "one": np.eye(len(x))[rng.integers(len(x))], "predictions": predictions}
        for (side, at), columns in self.columns.items():
            group, column = self.groups[side, at], rng.integers(len(columns))
            for row in range(len(weights)):
                name = f"{side} {at} {row}"
                normal[f"mean {name}"], square[f"precision {name}"] = group.mean[row], group.precision[row]
                away = group.weights[row] - group.mean[row]
                normal[f"weight {name}"] = away[column] * np.sqrt(group.precision[row])
                normal[f"weights {name}"] = away.sum() * np.sqrt(group.precision[row] / len(away))
                slope = x[:, columns[column]].copy()
                if row:
                    slope *= x @ weights[row] - slope * weights[row][columns[column]]
                directions[f"slope {name}"] = slope
        for name, direction in directions.items():
            length = np.sqrt(direction @ direction)
            normal[f"residuals along {name}"] = left @ direction / length if length > 0 else rng.normal()
        return normal, square


class OrdinalWorld(World):
    """The same of ratings on a grid of four values, by the cut points between them, normal about 0 with a variance of 100."""

    def sampler_of(self, table, n_factors):
        table.rating[:4], table.rating[4:] = range(4), 0
        return table.sampler(n_factors, ordinal=True)

    def draw_ratings(self, rng):
        grid = self.sampler.grid
        grid.cuts[1:-1] = np.sort(rng.normal(0, 10, 3)).astype(np.float32)
        self.level = np.searchsorted(grid.cuts, self.predictions() + rng.normal(size=len(self.x))) - 1
        grid.level[:] = self.level

    def known_of_ratings(self, predictions, rng):
        cuts = self.sampler.grid.cuts
        below, upto = (normal_cdf(cuts[self.level + at] - predictions) for at in (0, 1))
        # Within a value of the grid any number is as likely as another.
        uniform = np.clip(below + rng.random(len(below)) * (upto - below), 1e-15, 1 - 1e-15)
        left = np.array([NormalDist().inv_cdf(value) for value in uniform])
        low, middle, high = normal_cdf(cuts[1:-1] / 10)
        ordered = {"first cut": 1 - (1 - low) ** 3, "second cut": 3 * middle**2 - 2 * middle**3, "third cut": high**3}
        cuts_known = {name: NormalDist().inv_cdf(min(max(at, 1e-15), 1 - 1e-15)) for name, at in ordered.items()}
        return left, cuts_known, {}


def surprises(world, n_worlds, n_sweeps):
    """After some sweeps: how far what is known of the prior is from what was found, by name."""
    rng, found = np.random.default_rng(2), []
    for seed in range(n_worlds):
        world.draw(seed)
        for number in range(1, n_sweeps + 1):
            world.sampler.sweep(number, lambda part: None)
        found.append(world.known(rng))
    numbers = [{name: np.array([one[at][name] for one in found]) for name in found[0][at]} for at in (0, 1)]
    uniform = {name: normal_cdf(values) for name, values in numbers[0].items()}
    uniform.update({name: gamma_cdf(values / 2, 0.5) for name, values in numbers[1].items()})
    return {name: surprise(values) for name, values in uniform.items()}
