"""Whether the Gibbs sampler draws from the posterior of its own prior: what was drawn from the prior, with ratings from it, must stay so.

Parameters and ratings that are drawn together are a draw of their joint distribution; a sweep that keeps the posterior keeps it, so
that what is known of it a priori (a standardized weight is normal, so is a standardized residual along any direction, ...) holds
after the sweep as before (Geweke, 2004, with chains of their own). This asks nothing of how fast a chain mixes. The ranks of what
was drawn among the draws of a long chain (Talts and others, 2018) ask for it, and see less; they are tested as well.
"""

import numpy as np
import pytest

from .gibbs_reference import case, gamma_cdf, normal_cdf, surprise

#: deviations of a chi-square from what it should be: of 45 the most is 2.4 to be expected, 4.2 once in 1,000 such tests
FAR = 4.2


class World:
    """Parameters of a sampler, drawn from its prior, and ratings from them."""

    def __init__(self, n_ratings, n_blocks=(0, 0), n_days=0, n_factors=1, sizes=(5, 4)):
        table = case(*sizes, n_ratings, n_blocks, n_days, seed=1)
        self.order = np.argsort(table.user, kind="stable")
        x, self.columns = table.design()
        self.x = x[self.order]
        self.sampler = table.sampler(n_factors)
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
        sampler.seed, sampler.alpha, sampler.constant = seed, rng.chisquare(1), float(np.float32(rng.normal()))
        noise = rng.normal(size=len(self.x)) / np.sqrt(sampler.alpha)
        self.rating = sampler._rating[:] = (self.predictions() + noise).astype(np.float32)
        sampler.begin()

    def weights(self):
        weights = np.zeros((1 + self.sampler.n_factors, self.x.shape[1]))
        for name, columns in self.columns.items():
            weights[:, columns] = self.groups[name].weights
        return weights

    def predictions(self):
        weights, x = self.weights(), self.x
        pairs = sum((x @ v) ** 2 - x**2 @ v**2 for v in weights[1:]) / 2
        return self.sampler.constant + x @ weights[0] + pairs

    def known(self, rng):
        """What is standard normal, or chi-square with one degree of freedom, whatever the sweep; by name."""
        sampler, x, weights = self.sampler, self.x, self.weights()
        normal, square = {"w0": sampler.constant}, {"alpha": sampler.alpha}
        predictions = self.predictions()
        left = (self.rating - predictions) * np.sqrt(sampler.alpha)
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

    def identified(self):
        """What ratings say something of."""
        sampler, users, items = self.sampler, self.groups[0, 0].weights, self.groups[1, 0].weights
        left = self.rating - self.predictions()
        other = sampler.constant + users[0, -1] + items[0, -1] + users[1, -1] * items[1, -1]
        likelihood = len(left) * np.log(sampler.alpha) - sampler.alpha * (left @ left)
        rated = self.rating[0] - left[0]
        return np.array([sampler.constant, sampler.alpha, rated, other, users[0, 0], likelihood])


def surprises(n_worlds, n_sweeps, **options):
    """After some sweeps: how far what is known of the prior is from what was found, by name."""
    world, rng, found = World(**options), np.random.default_rng(2), []
    for seed in range(n_worlds):
        world.draw(seed)
        for number in range(1, n_sweeps + 1):
            world.sampler.sweep(number, lambda part: None)
        found.append(world.known(rng))
    numbers = [{name: np.array([one[at][name] for one in found]) for name in found[0][at]} for at in (0, 1)]
    uniform = {name: normal_cdf(values) for name, values in numbers[0].items()}
    uniform.update({name: gamma_cdf(values / 2, 0.5) for name, values in numbers[1].items()})
    return {name: surprise(values) for name, values in uniform.items()}


@pytest.mark.parametrize(
    ("n_ratings", "n_blocks", "n_days"), [(5, (0, 0), 0), (21, (1, 1), 3)], ids=["few ratings", "blocks and days"]
)
def test_what_is_drawn_from_the_prior_stays_so(n_ratings, n_blocks, n_days):
    """Few ratings leave the priors of noise and w0 their weight."""
    found = surprises(1500, 2, n_ratings=n_ratings, n_blocks=n_blocks, n_days=n_days)
    assert not {name: far for name, far in found.items() if abs(far) > FAR}


def ranks(n_worlds, n_draws, thin):
    """Of what was drawn from the prior, among the draws of a chain that are far apart, by name: within 0 .. n_draws.

    Ratings that are spread widely are left out, which changes no rank's distribution, since ratings alone say so.
    """
    world, found, seed = World(n_ratings=40), [], 0
    while len(found) < n_worlds:
        seed += 1
        world.draw(seed)
        if world.rating.std() > 5:
            continue
        truth, below = world.identified(), 0
        for number in range(1, thin * (n_draws + 1) + 1):
            world.sampler.sweep(number, lambda part: None)
            if number % thin == 0 and number > thin:
                below = below + (world.identified() < truth)
        found.append(below)
    return np.array(found)


@pytest.mark.slow
def test_ranks_among_the_draws_of_a_chain_are_uniform():
    """w0, the noise, a prediction of a rated pair and of another, a user's bias, the likelihood."""
    found = ranks(200, 19, 40)
    far = [surprise((column + 0.5) / 20) for column in found.T]
    assert max(np.abs(far)) < 4
