// product_rows — what the tiled products fetch of x and of the weights, in their own arithmetic, and store of y.

/// Four rows of x, ROWS_APART apart; rows beyond the last, and what is beyond the last k, repeat it.
fn fetch_x(row: u32, k: u32) -> Matrix {
    let last = dims.rows - 1u;
    let k4 = min(k, dims.k / 4u - 1u);
    return Matrix(Vector(input4(min(row, last), k4)), Vector(input4(min(row + ROWS_APART, last), k4)), Vector(input4(min(row + 2u * ROWS_APART, last), k4)), Vector(input4(min(row + 3u * ROWS_APART, last), k4)));
}

/// Four neighbouring columns' weights; zeros beyond the last k.
fn fetch_w(col: u32, k: u32) -> Matrix {
    let near = min(col, dims.n - 4u);
    if k >= dims.k / 4u { return Matrix(); }
    return Matrix(Vector(weight4(near, k, dims.k)), Vector(weight4(near + 1u, k, dims.k)), Vector(weight4(near + 2u, k, dims.k)), Vector(weight4(near + 3u, k, dims.k)));
}

/// Four rows of y, 8 apart.
fn store_rows(row: u32, col: u32, y: mat4x4<f32>) {
    if col >= dims.n { return; }
    if row < dims.rows { store4(row, col / 4u, y[0]); }
    if row + 8u < dims.rows { store4(row + 8u, col / 4u, y[1]); }
    if row + 16u < dims.rows { store4(row + 16u, col / 4u, y[2]); }
    if row + 24u < dims.rows { store4(row + 24u, col / 4u, y[3]); }
}
