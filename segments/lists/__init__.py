"""The include and exclude lists of segments; may import what segments may import."""
